// How close do ResNet-50's convolutions come to the arithmetic limit of the machine? Measures each layer
// shape at 32x32 pixels in batches of 64 and at 224x224 in batches of 8: forward, gradient with respect to
// the input, gradient with respect to the weight; under bf16/ and f16/ those of half types. GFLOP/s counts
// the multiplications and additions of direct sums, for pixels inside the image, not for padding.
// algorithm/... is each candidate for the 3x3 convolutions by itself. ceiling/... is a matrix product of 2048
// without a convolution around it, ours and other libraries', and the processor's multiply-add instructions
// alone.
//
//   conv_bench --benchmark_filter='/32/' --benchmark_out=conv.json --benchmark_min_time=0.2

#include <benchmark/benchmark.h>

#include <algorithm>

#include "bench/openblas.h"
#include "bench/resnet50_layers.h"
#include "taper/core/base/cpu_level.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/matmul/matmul_cpu.h"

using namespace taper;

namespace {

/// Returns how many (output position, kernel tap) pairs along one axis meet inside the image.
int64_t pairs_inside(int64_t input, int64_t output, const ResnetLayer& layer) {
  int64_t count = 0;
  for (int64_t i = 0; i < output * layer.kernel; ++i) {
    const int64_t position = i / layer.kernel * layer.stride - layer.padding() + i % layer.kernel;
    count += position >= 0 && position < input;
  }
  return count;
}

void count_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

enum class Pass { kForward, kBackwardInput, kBackwardWeight };

void convolution(benchmark::State& state, const ResnetLayer& layer, int64_t pixels, int64_t batch, Pass pass,
                 DType dtype) {
  const int64_t size = layer.input_size(pixels);
  const Conv2dOptions options = {.stride = layer.stride, .padding = layer.padding()};
  const TensorOptions image = {.dtype = dtype, .memory_format = kChannelsLast};
  const Tensor x = ops::full({batch, layer.in, size, size}, 0.5, image);
  const Tensor weight = ops::full({layer.out, layer.in, layer.kernel, layer.kernel}, 0.5, image);
  const Tensor y = ops::conv2d(x, weight, {}, options);
  for (auto _ : state) {
    if (pass == Pass::kForward) benchmark::DoNotOptimize(ops::conv2d(x, weight, {}, options));
    if (pass == Pass::kBackwardInput) {
      benchmark::DoNotOptimize(ops::conv2d_backward_input(y, weight, x.shape(), options));
    }
    if (pass == Pass::kBackwardWeight) {
      benchmark::DoNotOptimize(ops::conv2d_backward_weight(y, x, weight.shape(), options));
    }
  }
  const double pairs = double(pairs_inside(size, y.size(2), layer));
  count_flops(state, 2 * pairs * pairs * double(batch * layer.in * layer.out));
}

/// One candidate of one pass of a 3x3 convolution.
void algorithm(benchmark::State& state, int64_t batch, int64_t size, int64_t channels, ops::Conv2dPass pass,
               size_t index) {
  const TensorOptions image = {.memory_format = kChannelsLast};
  const Tensor x = ops::full({batch, channels, size, size}, 0.5, image);
  const Tensor weight = ops::full({channels, channels, 3, 3}, 0.5, image);
  const auto conv = ops::conv2d_geometry("conv_bench", x.shape(), weight.shape(), {.padding = 1});
  const ops::Conv2dCall call = {
      .pass = pass, .conv = conv, .x = x, .weight = weight, .y = ops::full(x.shape(), 0.5, image)};
  const auto candidate = ops::conv2d_cpu_algorithms(call).at(index);
  for (auto _ : state) candidate.run(call, nullptr);
  const double pairs = double(3 * size - 2);
  count_flops(state, 2 * pairs * pairs * double(batch * channels * channels));
  state.SetLabel(candidate.name);
}

using Floats16 [[gnu::vector_size(64)]] = float;
using Floats8 [[gnu::vector_size(32)]] = float;
using Floats4 [[gnu::vector_size(16)]] = float;

/// Independent multiply-adds in registers: kSums vectors, as many as hide an addition's latency and fit into
/// the registers. Returns a number that depends on them all.
template <int kSums, class V>
[[gnu::always_inline]] inline float multiply_adds(V factor, int64_t steps) {
  V sums[kSums];
  for (V& sum : sums) sum = factor;
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 24
    for (int j = 0; j < kSums; ++j) sums[j] = sums[j] * factor + factor;
      // It may have changed, so nothing is computed ahead.
#if defined(__x86_64__) && !defined(__clang__)
    if constexpr (sizeof(V) == 64)
      asm volatile("" : "+v"(factor));
    else
      asm volatile("" : "+x"(factor));
#else
    benchmark::DoNotOptimize(factor);
#endif
  }
  V total = factor;
  for (const V& sum : sums) total += sum;
  return total[0];
}

/// How multiply-adds run on this CPU, for the instruction sets that its f32 kernels use.
struct Peak {
  float (*run)(int64_t steps);
  double flops;  ///< in a step
};
#if defined(__x86_64__)
[[gnu::target("avx512f")]] float multiply_adds_avx512(int64_t steps) {
  return multiply_adds<24>(Floats16{} + 0.5f, steps);
}
[[gnu::target("avx2,fma")]] float multiply_adds_avx2(int64_t steps) {
  return multiply_adds<12>(Floats8{} + 0.5f, steps);
}
#endif
float multiply_adds_baseline(int64_t steps) {
  return multiply_adds<12>(Floats4{} + 0.5f, steps);
}
Peak peak_of_cpu() {
#if defined(__x86_64__)
  if (cpu_level() >= CpuLevel::kAvx512) return {multiply_adds_avx512, 2. * 24 * 16};
  if (cpu_level() >= CpuLevel::kAvx2) return {multiply_adds_avx2, 2. * 12 * 8};
#endif
  return {multiply_adds_baseline, 2. * 12 * 4};
}

/// Runs multiply-adds on all threads.
void peak(benchmark::State& state) {
  constexpr int64_t kSteps = 100000;
  const Peak of_cpu = peak_of_cpu();
  for (auto _ : state)
    parallel_chunks(num_threads(), [&](int64_t) { benchmark::DoNotOptimize(of_cpu.run(kSteps)); });
  count_flops(state, of_cpu.flops * kSteps * num_threads());
}

void add(const std::string& name, auto run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
  start_program("conv_bench");
  // Each candidate for a matrix product of 2048, and OpenBLAS's.
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  const ops::MatmulCall square{ops::ones({2048, 2048}), ops::ones({2048, 2048}), empty({2048, 2048})};
  for (const auto& candidate : ops::matmul_cpu_algorithms(square)) {
    if (!candidate.supported) continue;
    add("ceiling/" + candidate.name, [run = candidate.run, square](benchmark::State& state) {
      for (auto _ : state) run(square, nullptr);
      count_flops(state, 2. * 2048 * 2048 * 2048);
    });
  }
  static const OpenBlas openblas;
  if (!openblas.name().empty()) {
    add("ceiling/" + openblas.name(), [square](benchmark::State& state) {
      for (auto _ : state) openblas.multiply(square.a, square.b, square.c);
      count_flops(state, 2. * 2048 * 2048 * 2048);
    });
  }
  algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
  add("ceiling/peak", peak);
  for (const int64_t batch : {1, 8, 64}) {
    for (const auto& [size, channels] :
         {std::pair<int64_t, int64_t>{56, 64}, {28, 128}, {14, 256}, {7, 512}, {8, 64}, {4, 128}, {2, 256}}) {
      if ((batch == 64) == (size >= 14 || size == 7)) continue;  // 64 small images or a few large ones
      const char* const passes[] = {"forward", "backward_input", "backward_weight"};
      for (const int pass : {0, 1, 2}) {
        for (const size_t candidate : {0, 2, 3}) {
          add(fmt::format("algorithm/{}x{}x{}x{}/{}/{}", batch, channels, size, size, passes[pass],
                          candidate),
              [batch, size = size, channels = channels, pass, candidate](benchmark::State& state) {
                algorithm(state, batch, size, channels, ops::Conv2dPass(pass), candidate);
              });
        }
      }
    }
  }
  for (const DType dtype : {kFloat32, kBFloat16, kFloat16}) {
    for (const auto& [pixels, batch] : {std::pair<int64_t, int64_t>{32, 64}, {224, 8}}) {
      for (const ResnetLayer& layer : kResnet50Layers) {
        const auto with = [&layer, size = pixels, count = batch, dtype](Pass pass) {
          return [&layer, size, count, pass, dtype](benchmark::State& state) {
            convolution(state, layer, size, count, pass, dtype);
          };
        };
        const std::string half = is_half(dtype) ? fmt::format("{}/", taper::name(dtype)) : "";
        const std::string name = fmt::format("{}/{}", pixels, layer.name);
        add(fmt::format("{}forward/{}", half, name), with(Pass::kForward));
        add(fmt::format("{}backward_input/{}", half, name), with(Pass::kBackwardInput));
        add(fmt::format("{}backward_weight/{}", half, name), with(Pass::kBackwardWeight));
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
