// Steps whose batches do not fit in memory: whatever fails, and wherever, the result is that of a step that was given the
// parts as batches.

#include "taper/nn/train/batch_splitter.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <numeric>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/train/console.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/train_step.h"
#include "taper/ops/copy/copy.h"
#include "test_tensors.h"
#include "tests/support/child_process.h"

using namespace taper;
using Catch::Contains;

namespace {

/// Batches of `size` digits of 8 x 8 pixels.
std::vector<Batch> digits(Device device, int64_t size, int count) {
  DataLoader loader(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                    {.batch_size = size, .shuffle = true, .device = device, .seed = 7});
  loader.start(0);
  std::vector<Batch> batches;
  for (int i = 0; i < count; ++i) batches.push_back(*loader.next());
  return batches;
}

/// Cuts each batch into `parts` equal ones.
std::vector<Batch> cut(const std::vector<Batch>& batches, int64_t parts) {
  std::vector<Batch> result;
  for (const Batch& batch : batches) {
    const int64_t size = batch.size() / parts;
    for (int64_t i = 0; i < parts; ++i)
      result.push_back({views::narrow(batch.images, 0, i * size, size).clone(),
                        views::narrow(batch.labels, 0, i * size, size).clone(), batch.step});
  }
  return result;
}

struct LearnerOptions {
  bool batch_norm = true;
  std::optional<DType> autocast = {};
};

/// A network with state of every kind, and what trains it.
struct Learner {
  explicit Learner(Device device, const LearnerOptions& options = {})
      : scaler({.enabled = options.autocast == kFloat16}) {
    manual_seed(11);
    model.add<Conv2d>(3, 6, 3, Conv2dOptions{.padding = 1});
    if (options.batch_norm) model.add<BatchNorm2d>(6);
    model.add<Flatten>();
    if (options.batch_norm) model.add<Dropout>(0.3);
    model.add<Linear>(6 * 8 * 8, 10);
    model.to(device);
    optimizer.emplace(model.named_parameters(), AdamWOptions{.lr = 0.01});
    ema.emplace(model.named_parameters(), 0.5);
    splitter.emplace(model, [this](const BatchSplit& split) { heard.push_back(split); });
    step_options = {.autocast = options.autocast, .clip_grad = 1, .ema = &*ema, .scaler = &scaler};
  }

  TrainStep step(const LossFunction& loss, bool split) {
    TrainStepOptions chosen = step_options;
    if (split) chosen.splitter = &*splitter;
    return {loss, *optimizer, chosen};
  }
  LossFunction loss() { return classification_loss(model, 0.1); }

  /// Returns all numbers that training can change.
  std::vector<double> state() {
    std::vector<double> values;
    const auto add = [&](const Tensor& tensor) {
      const auto some = ops::to_vector<double>(tensor.detach());
      values.insert(values.end(), some.begin(), some.end());
    };
    for (const auto& [name, tensor] : model.state_dict()) add(tensor);
    for (const auto& [name, tensor] : optimizer->state_dict().tensors) add(tensor);
    for (const auto& [name, tensor] : ema->state_dict().tensors) add(tensor);
    values.push_back(scaler.get_scale());
    values.push_back(double(default_generator().state().counter));
    return values;
  }

  Sequential model;
  std::optional<AdamW> optimizer;
  std::optional<Ema> ema;
  GradScaler scaler;
  std::optional<BatchSplitter> splitter;
  std::vector<BatchSplit> heard;
  TrainStepOptions step_options;
};

/// Where the memory for too large a batch runs out: before the forward pass, after it, or when the gradient of a parameter
/// has arrived.
constexpr int kBeforeForward = -2, kAfterForward = -1;

/// Returns the loss, for which memory runs out at `where` if the batch has more than `most` images. Call it once a learner.
LossFunction limited(Learner& learner, int64_t most, int where, std::vector<int64_t>* sizes = nullptr) {
  const auto too_large = std::make_shared<bool>(false);
  if (where >= 0) {
    register_hook(learner.model.parameters()[size_t(where)], [too_large](const Tensor& grad) {
      if (*too_large) fail<OutOfMemoryError>("memory is full");
      return grad;
    });
  }
  return [=, loss = learner.loss()](const Batch& batch) {
    if (sizes) sizes->push_back(batch.size());
    *too_large = batch.size() > most;
    if (*too_large && where == kBeforeForward) fail<OutOfMemoryError>("memory is full");
    const Tensor result = loss(batch);
    if (*too_large && where == kAfterForward) fail<OutOfMemoryError>("memory is full");
    return result;
  };
}

struct Trained {
  std::vector<double> losses, state;
  bool operator==(const Trained&) const = default;
};

/// Trains `steps` steps of batches.size() / steps batches each.
Trained train(Learner& learner, const LossFunction& loss, const std::vector<Batch>& batches, size_t steps,
              bool split) {
  learner.model.train();
  TrainStep step = learner.step(loss, split);
  const size_t each = batches.size() / steps;
  Trained result;
  for (size_t i = 0; i < steps; ++i) {
    const auto first = batches.begin() + ptrdiff_t(i * each);
    result.losses.push_back(step(std::vector<Batch>(first, first + ptrdiff_t(each))).loss());
  }
  result.state = learner.state();
  return result;
}

/// Trains as train() does, with as many parts for each batch, and no splitter.
Trained accumulate(Device device, const LearnerOptions& options, const std::vector<Batch>& batches,
                   size_t steps, int64_t parts) {
  Learner learner(device, options);
  return train(learner, learner.loss(), cut(batches, parts), steps, false);
}

}  // namespace

TEST_CASE(
    "a batch that does not fit is computed in parts, bit by bit as accumulated batches, whatever failed "
    "before") {
  for (const Device device : test_devices()) {
    for (const std::optional<DType> autocast :
         {std::optional<DType>(), std::optional(kFloat16), std::optional(kBFloat16)}) {
      for (const size_t accumulated : {1, 2}) {
        const LearnerOptions options{.autocast = autocast};
        const std::vector<Batch> batches = digits(device, 8, int(2 * accumulated));
        for (const int64_t most : {7, 1}) {
          const int64_t part = most >= 4 ? 4 : most;
          const Trained expected = accumulate(device, options, batches, 2, 8 / part);
          for (const int where : {kBeforeForward, kAfterForward, 0, 5}) {
            INFO(device.str() << ", accumulated " << accumulated << ", at most " << most << ", fails at "
                              << where);
            Learner learner(device, options);
            REQUIRE(learner.model.parameters().size() == 6);
            std::vector<int64_t> sizes;
            const Trained trained = train(learner, limited(learner, most, where, &sizes), batches, 2, true);
            CHECK((trained == expected));
            CHECK(learner.splitter->part_size() == part);
            REQUIRE(learner.heard.size() == 1);
            CHECK(learner.heard[0].batch_size == 8);
            CHECK(learner.heard[0].part_size == part);
            CHECK(learner.heard[0].training);
            // The size is remembered: in the second step nothing fails.
            const std::vector<int64_t> second(sizes.end() - ptrdiff_t(accumulated) * 8 / part, sizes.end());
            CHECK(std::ranges::count(second, part) == ptrdiff_t(second.size()));
            CHECK(sizes.front() == 8);
          }
        }
      }
    }
  }
}

TEST_CASE("memory that runs out in the last of several batches undoes the gradients of those before") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    std::vector<Batch> batches = digits(device, 4, 2);
    batches.push_back(digits(device, 8, 1)[0]);
    Learner expected(device);
    const Trained whole =
        train(expected, expected.loss(),
              {batches[0], batches[1], cut({batches[2]}, 2)[0], cut({batches[2]}, 2)[1]}, 1, false);
    Learner learner(device);
    const Trained split = train(learner, limited(learner, 4, 1), batches, 1, true);
    CHECK(learner.splitter->part_size() == 4);
    // The batches' means count alike: the parts of the large one half as much as the small ones.
    CHECK(split.losses[0] != whole.losses[0]);
    Learner by_hand(device);
    by_hand.model.train();
    by_hand.optimizer->zero_grad();
    double loss = 0;
    const auto add = [&](const Batch& batch, double divisor) {
      const Tensor part = by_hand.loss()(batch);
      (part / divisor).backward();
      loss += part.item() / divisor;
    };
    add(batches[0], 3);
    add(batches[1], 3);
    for (const Batch& half : cut({batches[2]}, 2)) add(half, 6);
    CHECK(split.losses[0] == loss);
    const std::vector<Tensor> ours = learner.model.parameters(), theirs = by_hand.model.parameters();
    clip_grad_norm(theirs, 1);
    for (size_t i = 0; i < ours.size(); ++i)
      CHECK((ops::to_vector<float>(ours[i].grad()) == ops::to_vector<float>(theirs[i].grad())));
  }
}

TEST_CASE("parts of unequal size add up to the mean of the batch") {
  for (const Device device : test_devices()) {
    for (const int64_t size : {2, 3, 7, 13}) {
      const std::vector<Batch> batches = digits(device, size, 3);
      const LearnerOptions options{.batch_norm = false};
      Learner once(device, options);
      const Trained expected = train(once, once.loss(), batches, 3, false);
      for (int64_t most = 1; most < size; ++most) {
        INFO(device.str() << ", " << size << " images, at most " << most);
        Learner learner(device, options);
        std::vector<int64_t> sizes;
        const Trained trained =
            train(learner, limited(learner, most, kAfterForward, &sizes), batches, 3, true);
        CHECK(learner.splitter->part_size() <= most);
        CHECK(2 * learner.splitter->part_size() >= most);
        for (size_t i = 0; i < 3; ++i) CHECK(trained.losses[i] == Approx(expected.losses[i]).epsilon(1e-5));
        REQUIRE(trained.state.size() == expected.state.size());
        // The last step's parts differ by at most one image.
        const int64_t parts = (size + learner.splitter->part_size() - 1) / learner.splitter->part_size();
        const std::vector<int64_t> last(sizes.end() - ptrdiff_t(parts), sizes.end());
        CHECK(std::accumulate(last.begin(), last.end(), int64_t(0)) == size);
        CHECK(std::ranges::max(last) - std::ranges::min(last) <= 1);
      }
    }
  }
}

TEST_CASE("gradients of parts of unequal size are those of the batch") {
  for (const Device device : test_devices()) {
    const LearnerOptions options{.batch_norm = false};
    const std::vector<Batch> batch = digits(device, 7, 1);
    Learner once(device, options), split(device, options);
    train(once, once.loss(), batch, 1, false);
    train(split, limited(split, 3, kAfterForward), batch, 1, true);
    const std::vector<Tensor> ours = split.model.parameters(), theirs = once.model.parameters();
    for (size_t i = 0; i < ours.size(); ++i) {
      const auto x = ops::to_vector<double>(ours[i].grad()), y = ops::to_vector<double>(theirs[i].grad());
      for (size_t k = 0; k < x.size(); ++k) REQUIRE(x[k] == Approx(y[k]).epsilon(1e-4).margin(1e-6));
    }
  }
}

TEST_CASE("a run that goes on begins with the size that was found") {
  const std::vector<Batch> batch = digits(kCPU, 8, 1);
  Learner learner(kCPU, {.batch_norm = false});
  train(learner, limited(learner, 3, kAfterForward), batch, 1, true);
  BatchSplitter next(learner.model);
  next.load_state_dict(learner.splitter->state_dict());
  std::vector<int64_t> sizes;
  next.run(
      batch,
      [&](const std::vector<BatchPart>& parts) {
        for (const BatchPart& part : parts) sizes.push_back(part.batch.size());
      },
      [] {});
  CHECK(sizes == std::vector<int64_t>{2, 2, 2, 2});
  CHECK_THROWS_WITH(next.load_state_dict({}), Catch::Contains("the saved state has no part_size"));
}

TEST_CASE("if not even one image fits, the error says so, and nothing is left of the attempts") {
  for (const Device device : test_devices()) {
    for (int where = kBeforeForward; where < 6; ++where) {
      INFO(device.str() << ", fails at " << where);
      Learner learner(device);
      const std::vector<Batch> batches = digits(device, 8, 2);
      const std::vector<double> before = learner.state();
      TrainStep step = learner.step(limited(learner, 0, where), true);
      CHECK_THROWS_AS(step(batches), OutOfMemoryError);
      CHECK_THROWS_WITH(step(batches), "not even one image at a time fits: memory is full");
      CHECK((learner.state() == before));
      for (const Tensor& parameter : learner.model.parameters()) CHECK_FALSE(parameter.grad().defined());
      CHECK(learner.heard.empty());
    }
  }
}

TEST_CASE("other errors pass; those of parts say why there are parts") {
  const Device device = kCPU;
  Learner learner(device);
  const std::vector<Batch> batch = digits(device, 2, 1);
  const auto step = [&](const LossFunction& loss) { return learner.step(loss, true)(batch); };
  CHECK_THROWS_WITH(step([](const Batch&) -> Tensor { fail("a reason"); }), "a reason");
  CHECK(learner.splitter->part_size() == 0);
  CHECK_THROWS_AS(step([&](const Batch& images) -> Tensor {
                    if (images.size() == 1) fail("one value per channel");
                    fail<OutOfMemoryError>("memory is full");
                  }),
                  OutOfMemoryError);
  CHECK_THROWS_WITH(step([&](const Batch&) -> Tensor { fail("a reason"); }),
                    "a reason");  // of parts found earlier
  Learner other(device);
  CHECK_THROWS_WITH(
      other.step(
          [&](const Batch& images) -> Tensor {
            if (images.size() == 1) fail("one value per channel");
            fail<OutOfMemoryError>("memory is full");
          },
          true)(batch),
      "2 images at a time do not fit (memory is full), and 1 cannot be computed: one value per channel");
}

TEST_CASE("without a splitter, memory that runs out ends the step") {
  Learner learner(kCPU);
  CHECK_THROWS_WITH(learner.step(limited(learner, 4, kAfterForward), false)(digits(kCPU, 8, 1)),
                    "memory is full");
}

TEST_CASE("an evaluation's batches are split, and its score is that of whole batches") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Learner learner(device);
    DataLoader test(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
                    {.batch_size = 120, .device = device});
    const std::optional<Score> expected = evaluate(learner.model, test);
    std::vector<BatchSplit> heard;
    BatchSplitter splitter([&](const BatchSplit& split) { heard.push_back(split); });
    const auto forward = [&](const Tensor& images) {
      const Tensor logits = learner.model(images);
      if (images.size(0) > 20) fail<OutOfMemoryError>("memory is full");
      return logits;
    };
    CHECK_THROWS_AS(evaluate(learner.model, forward, test), OutOfMemoryError);
    const std::optional<Score> score = evaluate(learner.model, forward, test, {.splitter = &splitter});
    CHECK(score->top1 == expected->top1);
    CHECK(score->top5 == expected->top5);
    CHECK(score->loss == Approx(expected->loss).epsilon(1e-6));
    REQUIRE(heard.size() == 1);
    CHECK(heard[0].part_size == 15);
    CHECK_FALSE(heard[0].training);
  }
}

TEST_CASE("the console says in one line what does not fit, and what is done") {
  const auto line = [](const BatchSplit& split) {
    std::fflush(stdout);  // else the child prints what the tests have printed before
    return test::run_in_child([&] {
             dup2(STDERR_FILENO, STDOUT_FILENO);
             Console(ProgressMode::kOff).on_batch_split(split);
           })
        .stderr_text;
  };
  CHECK(line({.batch_size = 64, .part_size = 16}) ==
        "a batch of 64 images does not fit in memory: 16 images at a time are computed, and batch norm sees "
        "these\n");
  CHECK(
      line({.batch_size = 3, .part_size = 1}) ==
      "a batch of 3 images does not fit in memory: single images are computed, and batch norm sees these\n");
  CHECK(line({.batch_size = 64, .part_size = 32, .training = false}) ==
        "a validation batch of 64 images does not fit in memory: 32 images at a time are computed\n");
}
