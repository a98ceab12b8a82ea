// Pooling through a vendor's library: which poolings reach it, and with which windows. The library is a naive
// one of the test's own; how engines are struck off, built, kept and loaded is the same for all ops
// (conv_library_test.cu).

#include <catch2/catch.hpp>
#include <cmath>

#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/matmul/gemm_typed.h"
#include "taper/ops/pool/pool2d.h"
#include "tests/fake_library.h"
#include "tests/test_tensors.h"
#include "tests/tolerance.h"
#include "tests/warnings.h"

using namespace taper;
using ops::Operand;
using ops::PoolKind;

namespace {

// ---------------------------------------------------------------------------------- the naive library

struct NaivePool {
  PoolKind kind;
  int64_t n, c, h, w, p, q;
  IntPair kernel, stride, padding;
  double factor;
};

/// Calls visit(pixel of the picture) for what output pixel (p, q) sees of it.
template <class Visit>
__device__ void at_window(const NaivePool& job, int64_t p, int64_t q, Visit&& visit) {
  for (int64_t r = 0; r < job.kernel.h; ++r) {
    for (int64_t s = 0; s < job.kernel.w; ++s) {
      const int64_t h = p * job.stride.h - job.padding.h + r, w = q * job.stride.w - job.padding.w + s;
      if (h >= 0 && h < job.h && w >= 0 && w < job.w) visit(h * job.w + w);
    }
  }
}

__device__ double divisor_of(const NaivePool& job, int64_t p, int64_t q) {
  if (job.kind == PoolKind::kAverage) return double(job.kernel.h * job.kernel.w);
  int64_t seen = 0;
  at_window(job, p, q, [&](int64_t) { ++seen; });
  return double(seen);
}

/// One thread for each element of y.
template <class T>
__global__ void naive_pool(NaivePool job, const T* x, T* y) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= job.n * job.p * job.q * job.c) return;
  const int64_t c = index % job.c, q = index / job.c % job.q, p = index / job.c / job.q % job.p,
                n = index / job.c / job.q / job.p;
  double sum = 0, largest = -INFINITY;
  at_window(job, p, q, [&](int64_t pixel) {
    const double value = ops::device_cast<double>(x[(n * job.h * job.w + pixel) * job.c + c]);
    sum += value;
    largest = value > largest ? value : largest;
  });
  const double result = job.kind == PoolKind::kMax ? largest : sum / divisor_of(job, p, q);
  y[index] = ops::device_cast<T>(result * job.factor);
}

/// One thread for each element of grad_x, which looks at every window.
template <class T>
__global__ void naive_pool_backward(NaivePool job, const T* grad_y, T* grad_x) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, pixels = job.h * job.w;
  if (index >= job.n * pixels * job.c) return;
  const int64_t c = index % job.c, here = index / job.c % pixels, n = index / job.c / pixels;
  double sum = 0;
  for (int64_t p = 0; p < job.p; ++p) {
    for (int64_t q = 0; q < job.q; ++q) {
      at_window(job, p, q, [&](int64_t pixel) {
        const int64_t from = ((n * job.p + p) * job.q + q) * job.c + c;
        if (pixel == here) sum += ops::device_cast<double>(grad_y[from]) / divisor_of(job, p, q);
      });
    }
  }
  grad_x[index] = ops::device_cast<T>(sum * job.factor);
}

/// FakeState::Compute for pooling.
void compute_pool(const ops::EnginePattern& any, const ops::EngineOperands& operands, double factor) {
  const auto& pattern = std::get<ops::PoolPattern>(any);
  const Shape &input = pattern.input, &output = pattern.output;
  const NaivePool job = {pattern.kind, input[0],       input[1],       input[2],        input[3], output[2],
                         output[3],    pattern.kernel, pattern.stride, pattern.padding, factor};
  REQUIRE(operands.all().size() == 2);
  const void* from = operands.address(pattern.backward ? Operand::kGradY : Operand::kX);
  void* to = operands.address(pattern.backward ? Operand::kGradX : Operand::kY);
  const int64_t elements = numel(pattern.backward ? input : output);
  ops::dispatch_device_float(pattern.dtype, [&]<class T>() {
    gpu::launch("naive_pool", pattern.backward ? naive_pool_backward<T> : naive_pool<T>,
                {.grid = dim3(unsigned((elements + 31) / 32)), .block = 32}, job, static_cast<const T*>(from),
                static_cast<T*>(to));
  });
}

// -------------------------------------------------------------------------------------------- calls

/// A library for pooling, in a mode that asks it and compares its engines with the own kernel.
struct FakePoolGuard : FakeGuard {
  FakePoolGuard() : FakeGuard(compute_pool) {
    start_process(AlgorithmMode::kBenchmark);
    algorithm_cache().set_verify(true);
  }
};

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

struct Case {
  const char* name;
  std::function<Tensor(Device)> run;
  bool asked = true;  ///< whether it is for the library
};

std::vector<Case> cases(DType dtype) {
  const Tensor x = random_tensor({2, 9, 7, 8}, dtype, 1), grad = random_tensor({2, 9, 4, 4}, dtype, 2),
               global_grad = random_tensor({2, 9, 1, 1}, dtype, 3);
  const auto max = [x](const MaxPool2dOptions& options) {
    return [x, options](Device device) { return ops::max_pool2d_values(x.to(device), options); };
  };
  const auto average = [x](const AvgPool2dOptions& options) {
    return [x, options](Device device) { return ops::avg_pool2d(x.to(device), options); };
  };
  const auto backward = [x, grad](const AvgPool2dOptions& options) {
    return [x, grad, options](Device device) {
      return ops::avg_pool2d_backward(grad.to(device), x.shape(), options);
    };
  };
  const auto adaptive = [x](IntPair size) {
    return [x, size](Device device) { return ops::adaptive_avg_pool2d(x.to(device), size); };
  };
  return {
      {"maxima", max({.kernel = 3, .stride = 2, .padding = 1})},
      {"maxima, rectangles", max({.kernel = {2, 3}, .stride = {1, 2}})},
      {"maxima, ceil_mode", max({.kernel = 3, .stride = 3, .ceil_mode = true})},
      {"maxima, dilation", max({.kernel = 2, .dilation = 2}), false},
      {"averages", average({.kernel = 3, .stride = 2, .padding = 1})},
      {"averages inside", average({.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false})},
      {"averages inside, ceil_mode",
       average({.kernel = 3, .stride = 3, .ceil_mode = true, .count_include_pad = false})},
      {"averages, a last window beyond the padding", average({.kernel = 3, .stride = 3, .ceil_mode = true}),
       false},
      {"averages' gradient", backward({.kernel = 3, .stride = 2, .padding = 1})},
      {"averages' gradient inside",
       backward({.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false})},
      {"global mean", adaptive(1)},
      {"global mean's gradient",
       [x, global_grad](Device device) {
         return ops::adaptive_avg_pool2d_backward(global_grad.to(device), x.shape());
       }},
      {"uneven windows", adaptive({3, 4}), false},
  };
}

}  // namespace

TEST_CASE("poolings that are for the library reach it, and it agrees with the own kernel") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat32, kFloat16, kBFloat16);
  for (const Case& test : cases(dtype)) {
    INFO(test.name << ", " << name(dtype));
    FakePoolGuard fake;
    const Tensor expected = test.run(kCPU);
    algorithm_cache().clear();
    const Warnings warnings;
    check_close(test.run(kCUDA), expected, tolerance(dtype, 9));
    CHECK(warnings.texts.empty());
    REQUIRE(algorithm_cache().decisions().size() == 1);
    const AlgorithmRecord decision = algorithm_cache().decisions()[0];
    CHECK(decision.candidates.size() == (test.asked ? 2 : 1));
    CHECK(decision.verified == test.asked);
    REQUIRE(fake.state->asked.size() == (test.asked ? 1 : 0));
    if (test.asked) CHECK(std::get<ops::PoolPattern>(fake.state->asked[0]).alignment >= 16);
  }
}

TEST_CASE("the library is not asked for poolings in f64, or where no time is measured") {
  if (!has_gpu()) return;
  FakePoolGuard fake;
  DType dtype = kFloat32;
  SECTION("heuristic") {
    algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
  }
  SECTION("deterministic") {
    algorithm_cache().set_mode(AlgorithmMode::kDeterministic);
  }
  SECTION("f64") {
    dtype = kFloat64;
  }
  for (const Case& test : cases(dtype)) test.run(kCUDA);
  CHECK(fake.state->asked.empty());
}

TEST_CASE("pooling's wrong engines are struck off, those that refuse are out of the race") {
  if (!has_gpu()) return;
  FakePoolGuard fake;
  fake.state->offers = {{.name = "refuses", .fails_to_run = true}, {.name = "wrong", .factor = 1.2}};
  const Warnings warnings;
  const Tensor x = random_tensor({2, 9, 7, 8}, kFloat32, 1);
  ops::avg_pool2d(x.to(kCUDA), {.kernel = 2});
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::StartsWith("avg_pool2d forward a=f32[2,9,7,8]:channels_last") &&
                                    Catch::Contains("wrong is struck off"));
  CHECK(algorithm_cache().decisions()[0].winner == "windows");
}
