// Training in mixed precision: it learns, and costs no cast of a weight and no wait.

#include <catch2/catch.hpp>

#include "small_resnet.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/op_trace.h"
#include "taper/autograd/tape/weight_copy.h"
#include "taper/core/base/allocator.h"
#include "taper/core/generator.h"
#include "taper/core/profiler.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/serve/inference_form.h"
#include "test_tensors.h"
#include "tolerance.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif

using namespace taper;
using test::SmallResNet;

namespace {

struct Trainer {
  Trainer(Device device_, std::optional<DType> low_) : device(device_), low(low_) {
    network.to(device);
    const DType dtype = low.value_or(kFloat32);
    images = random_tensor({8, 3, 12, 12}, dtype, 3).contiguous(kChannelsLast).to(device);
    labels = from_vector<int64_t>({3, 0, 9, 3, 1, 2, 7, 5}).to(device);
    optimizer.emplace(network.named_parameters(), SgdOptions{.lr = 0.05, .momentum = 0.9});
  }

  Tensor step() {
    optimizer->zero_grad();
    Tensor loss;
    {
      std::optional<AutocastGuard> autocast;
      if (low) autocast.emplace(device.type, *low);
      loss = cross_entropy(network(images), labels);
    }
    scaler.scale(loss).backward();
    scaler.unscale(*optimizer);
    clip_grad_norm(network.parameters(), 5);
    scaler.step(*optimizer);
    scaler.update();
    return loss.detach();
  }

  struct Seeded {
    Seeded() { manual_seed(7); }
  } seeded;  // before the network draws its weights
  Device device;
  std::optional<DType> low;
  SmallResNet network;
  Tensor images, labels;
  std::optional<SGD> optimizer;
  GradScaler scaler{{.enabled = low == kFloat16}};
};

/// Every copy that there is, with its parameter's name, compared with the parameter itself.
void check_copies_are_current(const SmallResNet& network, size_t expected) {
  size_t found = 0;
  for (const auto& [name, parameter] : network.named_parameters()) {
    const Tensor copy = detail::current_weight_copy(parameter);
    if (!copy.defined()) continue;
    INFO(name);
    check_close(copy, parameter.detach().to(copy.dtype()), 0);
    ++found;
  }
  CHECK(found == expected);
}

/// Weights of convolutions, and weight and bias of the classifier: what products read.
size_t product_parameters(const SmallResNet& network) {
  size_t count = 1;  // fc.bias
  for (const auto& [name, parameter] : network.named_parameters()) count += parameter.dim() > 1 ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a small ResNet learns in mixed precision as it does in f32") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType low = GENERATE(kBFloat16, kFloat16);
  CAPTURE(device, low);
  Trainer exact(device, std::nullopt), mixed(device, low);
  double first = 0, last = 0, reference = 0;
  for (int step = 0; step < 25; ++step) {
    reference = exact.step().item();
    last = mixed.step().item();
    if (step == 0) {
      first = last;
      CHECK(first == Approx(reference).epsilon(0.02));
    }
  }
  CHECK(last < 0.3 * first);
  CHECK(std::abs(last - reference) < 0.15 * first);
  for (const auto& [name, parameter] : mixed.network.named_parameters()) {
    CHECK(parameter.dtype() == kFloat32);
    CHECK(parameter.grad().dtype() == kFloat32);
  }
}

TEST_CASE("after its first step a training casts no weight, and no gradient of one") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType low = GENERATE(kBFloat16, kFloat16);
  CAPTURE(device, low);
  Trainer trainer(device, low);
  // What the profiler sees of casts: on the CPU the scopes, on a GPU the launches.
  const auto casts = [&] {
    Profiler profiler({.memory = false});
    trainer.step();
    int64_t launched = 0;
    for (const ProfileSpan& span : profiler.stop().spans) {
      if (device.is_cuda() && span.device >= 0 && span.kind == SpanKind::kKernel)
        launched += std::string_view(span.op).starts_with("cast") ? 1 : 0;
    }
    return launched;
  };
  const int64_t first = casts(), second = casts(), third = casts();
  if (device.is_cuda()) {
    CHECK(first == second + int64_t(product_parameters(trainer.network)));
    CHECK(second == 2);  // the logits to f32, and their gradient back
    CHECK(third == 2);
  }
  check_copies_are_current(trainer.network, product_parameters(trainer.network));
  const Tensor copy = detail::current_weight_copy(trainer.network.conv1.weight);
  trainer.step();
  CHECK(detail::current_weight_copy(trainer.network.conv1.weight).is_same(copy));
}

#if TAPER_SIMULATED_GPU
TEST_CASE("a step in mixed precision waits for nothing") {
  const DType low = GENERATE(kBFloat16, kFloat16);
  Trainer trainer(kCUDA, low);
  trainer.step();
  gpu::synchronize();
  const uint64_t before = gpu::sim::host_waits();
  trainer.step();
  trainer.step();
  CHECK(gpu::sim::host_waits() == before);
  gpu::synchronize();
}
#endif

TEST_CASE("AdamW keeps the copies as SGD does, and only those of parameters that have a gradient") {
  const Device device = GENERATE(from_range(test_devices()));
  manual_seed(3);
  SmallResNet network;
  network.to(device);
  const Tensor images = randn({4, 3, 12, 12}).to(device);
  AdamW optimizer(network.named_parameters(), {.lr = 1e-2});
  const AutocastGuard amp(device.type, kBFloat16);
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    mean(square(network(images))).backward();
    network.conv1.weight.set_grad({});  // its copy stays, and is current, since nothing was written
    optimizer.step();
    check_copies_are_current(network, product_parameters(network));
  }
}

TEST_CASE("a skipped update leaves the copies what they were") {
  const Device device = GENERATE(from_range(test_devices()));
  Trainer trainer(device, kFloat16);
  trainer.step();
  const Tensor before = trainer.network.fc.weight.detach().clone();
  trainer.images[0].fill_(INFINITY);
  const Tensor loss = trainer.step();
  CHECK(!std::isfinite(loss.item()));
  check_close(trainer.network.fc.weight, before, 0);
  check_copies_are_current(trainer.network, product_parameters(trainer.network));
}

TEST_CASE("weights that others write are cast again: averages, loaded states") {
  Trainer trainer(kCPU, kBFloat16);
  Ema ema(trainer.network.named_parameters(), 0.5);
  trainer.step();
  ema.update();
  trainer.step();
  ema.update();
  const auto logits = [&](std::optional<DType> low) {
    trainer.network.eval();
    const NoGradGuard no_grad;
    std::optional<AutocastGuard> autocast;
    if (low) autocast.emplace(kCPU, *low);
    const Tensor y = trainer.network(trainer.images.to(low.value_or(kFloat32)));
    trainer.network.train();
    return y;
  };
  const auto agree = [&] { check_close(logits(kBFloat16), logits(std::nullopt), 0.05, 1); };
  agree();
  const Tensor trained = logits(kBFloat16);
  {
    const EmaScope averaged(ema);
    agree();
    CHECK(sum(abs(logits(kBFloat16) - trained)).item() > 0);
  }
  check_close(logits(kBFloat16), trained, 0);
  manual_seed(11);
  SmallResNet other;
  trainer.network.load_state_dict(other.state_dict());
  agree();
}

TEST_CASE("a served model computes in the scope's dtype, from weights folded in f32") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType low = GENERATE(kBFloat16, kFloat16);
  Trainer trainer(device, low);
  for (int step = 0; step < 3; ++step) trainer.step();
  trainer.network.eval();
  const InferenceForm form(trainer.network);
  const Tensor images = trainer.images.to(kFloat32), exact = form(images);
  CHECK(exact.dtype() == kFloat32);
  {
    const AutocastGuard amp(device.type, low);
    const Tensor y = form(images);
    CHECK(y.dtype() == low);
    check_close(y, exact, 0.05, 1);
    check_close(form(trainer.images), y, 0);
  }
  check_close(form(images), exact, 0);
}

TEST_CASE("half the bytes: what a step keeps for backward is smaller in mixed precision") {
  if (gpu::device_count() == 0) return;
  const auto peak = [](std::optional<DType> low) {
    Trainer trainer(kCUDA, low);
    const Tensor images = randn({16, 3, 48, 48}).to(low.value_or(kFloat32)).contiguous(kChannelsLast).cuda();
    trainer.images = images;
    trainer.labels = zeros({16}, {.dtype = kInt64, .device = kCUDA});
    gpu::synchronize();
    allocator_for(kCUDA).reset_peak();
    const size_t held = allocator_for(kCUDA).stats().allocated_bytes;
    trainer.step();
    gpu::synchronize();
    return double(allocator_for(kCUDA).stats().peak_allocated_bytes - held);
  };
  CHECK(peak(kBFloat16) < 0.6 * peak(std::nullopt));
}
