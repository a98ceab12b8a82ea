// Training whose batches do not fit in the memory of a GPU: under limits of the simulated GPU's memory, and with a failure of
// each request for memory in turn.

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <random>

#include "taper/autograd/functions.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/sim.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/data/synthetic_dataset.h"
#include "taper/nn/layers/adaptive_avg_pool2d.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/batch_splitter.h"
#include "taper/nn/train/train_step.h"
#include "taper/ops/copy/copy.h"

using namespace taper;
using Catch::Contains;

namespace {

const Device kGpu("cuda:0");

struct RunOptions {
  int64_t batch_size = 8;
  int64_t accumulate = 1;
  int64_t steps = 2;
  bool split = false;
  std::optional<DType> autocast = {};
  int image_size = 8;
  int64_t channels = 4;
  int blocks = 1;
  int fail_request = 0;  ///< of the first step; 0: none
};

struct RunResult {
  std::vector<double> losses;
  std::vector<double>
      state;  ///< parameters, buffers, the optimiser's memory, the average, scale and generator
  int64_t part_size = 0;
  size_t peak_bytes = 0;
  int64_t requests = 0;  ///< for memory, in the first step

  bool same_training(const RunResult& other) const { return losses == other.losses && state == other.state; }
};

/// Trains a network that has much memory and little arithmetic, from the same beginning each time.
RunResult train(const RunOptions& options) {
  manual_seed(2);
  Sequential model;
  model.add<Conv2d>(3, options.channels, 1);
  for (int i = 0; i < options.blocks; ++i) model.add<BatchNorm2d>(options.channels).add<Dropout>(0.2);
  model.add<AdaptiveAvgPool2d>(1).add<Flatten>().add<Linear>(options.channels, 5);
  model.to(kGpu);
  DataLoader batches(std::make_shared<SyntheticDataset>(
                         options.steps * options.accumulate * options.batch_size, 5, options.image_size),
                     evaluation_transform(options.image_size, options.image_size),
                     {.batch_size = options.batch_size, .device = kGpu});
  SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  Ema ema(model.named_parameters(), 0.5);
  GradScaler scaler({.enabled = options.autocast == kFloat16});
  BatchSplitter splitter(model);
  TrainStep step(classification_loss(model, 0.1), optimizer,
                 {.autocast = options.autocast,
                  .clip_grad = 1,
                  .ema = &ema,
                  .scaler = &scaler,
                  .splitter = options.split ? &splitter : nullptr});
  RunResult result;
  batches.start(0);
  model.train();
  for (int64_t i = 0; i < options.steps; ++i) {
    std::vector<Batch> some;
    for (int64_t k = 0; k < options.accumulate; ++k) some.push_back(*batches.next());
    const int64_t before = gpu::caching_allocator(0).stats().allocation_count;
    if (i == 0) gpu::caching_allocator(0).fail_request(options.fail_request);
    result.losses.push_back(step(some).loss());
    gpu::caching_allocator(0).fail_request(0);
    if (i == 0) result.requests = gpu::caching_allocator(0).stats().allocation_count - before;
    result.peak_bytes = std::max(result.peak_bytes, gpu::sim::allocated_bytes());
  }
  const auto add = [&](const Tensor& tensor) {
    const auto values = ops::to_vector<double>(tensor.detach());
    result.state.insert(result.state.end(), values.begin(), values.end());
  };
  for (const auto& [name, tensor] : model.state_dict()) add(tensor);
  for (const auto& [name, tensor] : optimizer.state_dict().tensors) add(tensor);
  for (const auto& [name, tensor] : ema.state_dict().tensors) add(tensor);
  result.state.push_back(scaler.get_scale());
  result.state.push_back(double(default_generator().state().counter));
  result.part_size = splitter.part_size();
  return result;
}

/// Trains with nothing cached before and afterwards, and with as much memory as is in use and `limit_bytes` more.
RunResult train_within(size_t limit_bytes, const RunOptions& options) {
  struct Restore {
    ~Restore() {
      gpu::sim::set_memory_limit(size_t(8) << 30);
      gpu::caching_allocator(0).fail_request(0);
      gpu::caching_allocator(0).empty_cache();
    }
  } restore;
  gpu::caching_allocator(0).empty_cache();
  const size_t base = gpu::sim::allocated_bytes();
  gpu::sim::set_memory_limit(base + limit_bytes);
  RunResult result = train(options);
  result.peak_bytes -= base;
  return result;
}

constexpr size_t kNoLimit = size_t(1) << 32;

}  // namespace

TEST_CASE(
    "whichever request for memory fails, the step is right or ends with an error, and no gradient is half "
    "added") {
  for (const int64_t accumulate : {1, 2}) {
    const std::optional<DType> autocast = accumulate == 1 ? std::optional(kFloat16) : std::nullopt;
    INFO(accumulate << " batches a step, " << (autocast ? "fp16" : "f32"));
    const RunOptions options{.accumulate = accumulate, .autocast = autocast};
    RunOptions in_halves = options;
    in_halves.batch_size /= 2;
    in_halves.accumulate *= 2;
    const RunResult whole = train_within(kNoLimit, options), halves = train_within(kNoLimit, in_halves);
    REQUIRE_FALSE(whole.same_training(halves));
    int splits = 0, errors = 0;
    for (int n = 1; n <= whole.requests; ++n) {
      INFO("request " << n << " of " << whole.requests);
      RunOptions failing = options;
      failing.split = true;
      failing.fail_request = n;
      try {
        const RunResult result = train_within(kNoLimit, failing);
        if (result.part_size == 0) {
          CHECK(result.same_training(whole));  // the op did without
        } else {
          CHECK(result.part_size == 4);
          CHECK(result.same_training(halves));
          CHECK(errors == 0);
          ++splits;
        }
      } catch (const OutOfMemoryError& error) {
        CHECK_THAT(error.what(), !Contains("one image"));  // the update's memory
        ++errors;
      }
    }
    CHECK(splits > 20);
    CHECK(errors > 0);
  }
}

TEST_CASE("under any limit of memory training is that of accumulated parts, down to one image") {
  const RunOptions options{.split = true, .image_size = 48, .channels = 16, .blocks = 5};
  std::map<int64_t, RunResult> expected;  // by part size
  for (const int64_t part : {8, 4, 2, 1}) {
    RunOptions accumulated = options;
    accumulated.batch_size = part;
    accumulated.accumulate = 8 / part;
    accumulated.split = false;
    expected[part] = train_within(kNoLimit, accumulated);
    UNSCOPED_INFO(part << " images: " << expected[part].peak_bytes << " bytes");
  }
  const size_t least = expected[1].peak_bytes, most = expected[8].peak_bytes;
  REQUIRE(least < most / 2);
  std::map<int64_t, int> seen;
  std::mt19937_64 random(5);
  for (int i = 0; i < 14; ++i) {
    // As likely to be between 1 and 2 images as between 4 and 8.
    const double low = std::log(0.75 * double(least)), high = std::log(1.1 * double(most));
    const auto limit = size_t(std::exp(std::uniform_real_distribution<double>(low, high)(random)));
    INFO("limit " << limit << " of " << least << " to " << most);
    try {
      const RunResult result = train_within(limit, options);
      const int64_t part = result.part_size == 0 ? 8 : result.part_size;
      REQUIRE(expected.contains(part));
      CHECK(result.same_training(expected[part]));
      ++seen[part];
    } catch (const OutOfMemoryError& error) {
      // Either a single image does not fit, or a batch does not even as pixels.
      CHECK(limit < least + (size_t(1) << 20));
      ++seen[0];
    }
  }
  CHECK(seen[0] > 0);
  CHECK(seen[1] > 0);
  CHECK(seen.size() >= 4);
}
