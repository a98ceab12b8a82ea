// Whole training steps on the GPU: the CPU's numbers, equal bits every time, and out of memory at every
// point; also with a fake library, which does to convolutions what a vendor's may do.

#include <catch2/catch.hpp>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/report/accuracy.h"
#include "tests/support/algorithm_mode.h"
#include "tests/support/fake_library.h"
#include "tests/support/naive_conv.cuh"
#include "tests/support/small_resnet.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;
using test::SmallResNet;

namespace {

const Device kGpu("cuda");

struct Sizes {
  int64_t channels = 8, pixels = 12;
};
constexpr Sizes kFewPixels = {.channels = 4, .pixels = 6};  // for convolutions that are computed naively

/// A network with an optimiser, and a batch for it.
struct Trainer {
  Trainer(Device device, DType dtype = kFloat32, Sizes sizes = {}) : network(sizes.channels) {
    network.to(dtype);
    network.to(device);
    images = random_tensor({4, 3, sizes.pixels, sizes.pixels}, dtype, 3).contiguous(kChannelsLast).to(device);
    labels = from_vector<int64_t>({3, 0, 9, 3}).to(device);
    optimizer.emplace(network.named_parameters(),
                      SgdOptions{.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-3});
  }

  Tensor step() {
    optimizer->zero_grad();
    const Tensor loss = cross_entropy(network(images), labels, {.label_smoothing = 0.1});
    loss.backward();
    clip_grad_norm(network.parameters(), 1);
    optimizer->step();
    return loss.detach();
  }

  /// Everything that a step changes.
  std::vector<std::vector<double>> state() const {
    std::vector<std::vector<double>> values;
    for (const auto& [name, tensor] : network.state_dict()) values.push_back(ops::to_vector<double>(tensor));
    return values;
  }

  struct Seeded {
    Seeded() { manual_seed(7); }
  } seeded;  // before the network draws its weights
  SmallResNet network;
  Tensor images, labels;
  std::optional<SGD> optimizer;
};

/// A library whose first engine for a convolution needs a workspace and gives other bits in every run, as if
/// blocks added in the order in which they finish.
class VendorGuard {
 public:
  VendorGuard()
      : fake_([this](const ops::EnginePattern& pattern, const ops::EngineOperands& operands, double factor) {
          compute_conv(pattern, operands, factor == 1 ? 1 : 1 + 1e-6 * ++runs_);
        }) {
    fake_.state->offers = {
        {.name = "atomics", .workspace_bytes = 4096, .deterministic = false, .factor = 1.000001},
        {.name = "ordered", .workspace_bytes = 512}};
  }

  int runs_of(const std::string& engine) const { return fake_.state->count("run " + engine); }

 private:
  int runs_ = 0;
  FakeGuard fake_;
};

}  // namespace

TEST_CASE("a training step on the GPU is the CPU's") {
  if (gpu::device_count() == 0) return;
  const DType dtype = GENERATE(kFloat32, kFloat64);
  Trainer on_cpu(Device("cpu"), dtype), on_gpu(kGpu, dtype);
  for (int step = 0; step < 3; ++step) {
    INFO("step " << step);
    const double expected = on_cpu.step().item(), loss = on_gpu.step().item();
    const double relative = dtype == kFloat32 ? 1e-5 : 1e-12;
    CHECK(std::abs(loss - expected) <= relative * std::abs(expected));
    const NamedTensors cpu_parameters = on_cpu.network.named_parameters();
    const NamedTensors gpu_parameters = on_gpu.network.named_parameters();
    for (size_t i = 0; i < cpu_parameters.size(); ++i) {
      INFO(cpu_parameters[i].first);
      const auto expect_near = [&](const Tensor& actual, const Tensor& truth) {
        CHECK(actual.device() == kGpu);
        const auto a = ops::to_vector<double>(actual), b = ops::to_vector<double>(truth);
        double largest = 0, difference = 0;
        for (size_t k = 0; k < a.size(); ++k) {
          largest = std::max(largest, std::abs(b[k]));
          difference = std::max(difference, std::abs(a[k] - b[k]));
        }
        CHECK(difference <= 30 * relative * (largest + 1e-3));
      };
      expect_near(gpu_parameters[i].second.grad(), cpu_parameters[i].second.grad());
      expect_near(gpu_parameters[i].second, cpu_parameters[i].second);
    }
  }
  on_cpu.network.eval();
  on_gpu.network.eval();
  const NoGradGuard no_grad;
  CHECK(ops::to_vector<double>(on_gpu.network(on_gpu.images))[3] ==
        Approx(ops::to_vector<double>(on_cpu.network(on_cpu.images))[3]).epsilon(1e-3));
}

TEST_CASE("two deterministic runs on the GPU give the same bits, whatever a library offers") {
  if (gpu::device_count() == 0) return;
  const bool with_vendor = GENERATE(false, true);
  std::optional<VendorGuard> vendor;
  if (with_vendor) vendor.emplace();
  const AlgorithmModeGuard mode(AlgorithmMode::kDeterministic);
  const auto run = [&] {
    Trainer trainer(kGpu, kFloat32, with_vendor ? kFewPixels : Sizes());
    for (int step = 0; step < 3; ++step) trainer.step();
    return trainer.state();
  };
  CHECK(run() == run());
  if (!with_vendor) return;
  CHECK(vendor->runs_of("ordered") > 0);
  CHECK(vendor->runs_of("atomics") == 0);
}

TEST_CASE("out of memory at any allocation of a step leaves a program that goes on") {
  if (gpu::device_count() == 0) return;
  const bool with_vendor = GENERATE(false, true);
  std::optional<VendorGuard> vendor;
  if (with_vendor) vendor.emplace();
  gpu::CachingAllocator& allocator = gpu::caching_allocator(0);
  Trainer trainer(kGpu, kFloat32, with_vendor ? kFewPixels : Sizes());
  trainer.step();  // now momentum buffers exist
  trainer.optimizer->zero_grad();
  const int64_t resting = allocator.stats().allocated_bytes;
  const int64_t count_before = allocator.stats().allocation_count;
  trainer.step();
  trainer.optimizer->zero_grad();
  const auto allocations = int(allocator.stats().allocation_count - count_before);
  REQUIRE(allocations > 50);
  int thrown = 0, fallen_back = 0;
  for (int n = 1; n <= allocations; ++n) {
    INFO("allocation " << n << " of " << allocations);
    allocator.fail_request(n);
    const int64_t fallbacks_before = algorithm_cache().statistics().fallbacks;
    try {
      trainer.step();  // succeeds if an algorithm with less workspace took over
      ++fallen_back;
      CHECK(algorithm_cache().statistics().fallbacks > fallbacks_before);
    } catch (const OutOfMemoryError&) {
      ++thrown;
    }
    trainer.optimizer->zero_grad();
    REQUIRE(allocator.stats().allocated_bytes == resting);
  }
  CHECK(thrown > 50);
  if (with_vendor) CHECK(fallen_back > 0);
  allocator.fail_request(0);
  CHECK(std::isfinite(trainer.step().item()));
}

TEST_CASE("a small ResNet learns the digits on the GPU") {
  if (gpu::device_count() == 0) return;
  manual_seed(1);
  SmallResNet network;
  network.to(kGpu);
  AdamW optimizer(network.named_parameters(), {.lr = 0.01, .weight_decay = 0.01});
  Ema average(network.named_parameters(), 0.9);
  DataLoader batches(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
                     evaluation_transform(8, 8),
                     {.batch_size = 32, .shuffle = true, .drop_last = true, .device = kGpu});
  for (int epoch = 0; epoch < 2; ++epoch) {
    batches.start(epoch);
    while (const auto batch = batches.next()) {
      optimizer.zero_grad();
      cross_entropy(network(batch->images), batch->labels).backward();
      optimizer.step();
      average.update();
    }
  }
  DataLoader test(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
                  {.batch_size = 60, .device = kGpu});
  const EmaScope averaged(average);
  const NoGradGuard no_grad;
  network.eval();
  Accuracy accuracy;
  test.start(0);
  while (const auto batch = test.next()) accuracy.add(network(batch->images), batch->labels);
  CHECK(accuracy.count() == 360);
  CHECK(accuracy.top1() > 0.85);
}
