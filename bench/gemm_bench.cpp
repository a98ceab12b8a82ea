// Taper's matrix product on the GPU beside the vendor's library: for each problem the fastest own kernel and
// the fastest of the library's algorithms, as the algorithm cache finds them. `own_by_library` is the own
// kernel's speed as a fraction of the library's. On the simulated GPU the shapes are tiny and the times mean
// nothing.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <map>
#include <memory>

#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/gemm/gemm_call.h"
#include "taper/ops/random/random.h"
#include "taper/ops/vendor/engine_library.h"

using namespace taper;

namespace {

struct Task {
  const char* name;
  int64_t batches, m, n, k;
  bool a_transposed, b_transposed;

  double flops() const { return 2. * double(batches * m * n) * double(k); }
};

// ResNet-50's convolutions are in resnet50_layers.
constexpr Task kTasks[] = {
    {"square", 1, 8192, 8192, 8192, false, false},
    {"square, b transposed", 1, 4096, 4096, 4096, false, true},
    {"square, a transposed", 1, 4096, 4096, 4096, true, false},
    {"1x1 convolution", 1, 256 * 56 * 56, 256, 64, false, true},
    {"its weight's gradient", 1, 256, 64, 256 * 56 * 56, true, false},
    {"last layer of ResNet-50", 1, 256, 1000, 2048, false, true},
    {"one image", 1, 1, 1000, 2048, false, true},
    {"attention scores", 192, 512, 512, 64, false, true},
};

struct Precision {
  const char* name;
  DType dtype;
  bool tf32;
};
constexpr Precision kPrecisions[] = {
    {"f32", kFloat32, false}, {"tf32", kFloat32, true}, {"f16", kFloat16, false}, {"bf16", kBFloat16, false}};

Task as_large_as_the_device(Task problem) {
  if (!gpu::is_simulated()) return problem;
  problem.batches = std::min<int64_t>(problem.batches, 2);
  for (int64_t* size : {&problem.m, &problem.n, &problem.k}) *size = std::min<int64_t>(*size, 24);
  return problem;
}

/// The tensors of a problem and its description.
struct Product {
  Tensor a, b;
  ops::GemmCall call;

  Product(const Task& problem, const Precision& precision) {
    const auto& [name, batches, m, n, k, a_transposed, b_transposed] = problem;
    const auto matrix = [](const Tensor& x, bool transposed) {
      return ops::GpuMatrix{.data = x.data_ptr(),
                            .stride = x.size(2),
                            .transposed = transposed,
                            .batch_inner = x.size(1) * x.size(2)};
    };
    const auto random = [&](int64_t rows, int64_t cols) {
      return ops::cast(ops::randn({problem.batches, rows, cols}, {.device = kCUDA}), precision.dtype);
    };
    a = a_transposed ? random(k, m) : random(m, k);
    b = b_transposed ? random(n, k) : random(k, n);
    const Tensor c = empty({batches, m, n}, {.dtype = precision.dtype, .device = kCUDA});
    call = {.gemm = {.dtype = precision.dtype,
                     .sizes = {.m = m, .n = n, .k = k, .batch_inner = batches},
                     .a = matrix(a, a_transposed),
                     .b = matrix(b, b_transposed),
                     .c = matrix(c, false),
                     .allow_tf32 = precision.tf32},
            .c = c};
  }
};

/// Seconds of the fastest own kernel, by problem and precision.
std::map<std::string, double> own_seconds;

void measure(benchmark::State& state, const Task& problem, const Precision& precision, bool from_library) {
  const Product product(problem, precision);
  const auto candidates = [&](const ops::GemmCall& call) {
    auto all = ops::gemm_algorithms(call);
    std::erase_if(all, [&](const auto& one) { return one.name.starts_with("own") == from_library; });
    return all;
  };
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  try {
    cache.run(product.call, candidates);
  } catch (const Error& error) {
    return state.SkipWithError(error.what());
  }
  state.SetLabel(cache.decisions()[0].winner);
  double seconds = 0;
  for (auto _ : state) {
    gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn);
    start.record();
    cache.run(product.call, candidates);
    end.record();
    end.synchronize();
    state.SetIterationTime(double(end.elapsed_ms(start)) * 1e-3);
    seconds += double(end.elapsed_ms(start)) * 1e-3;
  }
  seconds /= double(state.iterations());
  state.counters["flops"] = problem.flops() / seconds;
  const std::string key = fmt::format("{}/{}", problem.name, precision.dtype);  // TF32 races own f32
  if (from_library)
    state.counters["own_by_library"] = seconds / own_seconds[key];
  else
    own_seconds[key] = seconds;
}

}  // namespace

int main(int argc, char** argv) {
  start_program("gemm_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  if (gpu::device_count() == 0) {
    fmt::print(stderr, "gemm_bench: no GPU\n");
    return 1;
  }
  const bool has_library = ops::engine_library(ops::VendorLibrary::kCublaslt) != nullptr;
  for (const Task& wanted : kTasks) {
    const Task problem = as_large_as_the_device(wanted);
    for (const Precision& precision : kPrecisions) {
      for (const bool from_library : {false, true}) {
        if (from_library ? !has_library : precision.tf32) continue;  // own kernels have no TF32
        const std::string name =
            fmt::format("{} {}x{}x{}x{}/{}/{}", problem.name, problem.batches, problem.m, problem.n,
                        problem.k, precision.name, from_library ? "library" : "own");
        benchmark::RegisterBenchmark(
            name.c_str(), [=](benchmark::State& state) { measure(state, problem, precision, from_library); })
            ->UseManualTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
}
