// The CPU's algorithms for convolutions, and the estimates of their times that rank them.  // spine 28 (docs/0-the-spine.md)

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/cpu_level.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/conv/cpu/conv_plan.h"
#include "taper/ops/conv/cpu/depthwise.h"
#include "taper/ops/conv/cpu/half_conv.h"
#include "taper/ops/conv/cpu/implicit_gemm.h"
#include "taper/ops/conv/cpu/winograd.h"
#include "taper/ops/conv/passes/extra_passes.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

// Rates of bench/conv_bench.cpp on two cores with AVX-512, for the estimates. Only their ratios matter.
constexpr double kFlopsPerSecond = 450e9;       // of a product of packed matrices
constexpr double kTileFlopsPerSecond = 2000e9;  // the same by AMX
constexpr double kCastsPerSecond = 3e9;         // numbers from f32 to 16 bits, or back
constexpr double kScalarFlopsPerSecond = 8e9;   // of a product with one row or column
constexpr double kTransformBytesPerSecond = 100e9;
constexpr double kPackedBytesPerSecond = 20e9;       // weights, packed and read again
constexpr double kTransformedBytesPerSecond = 40e9;  // weights, transformed and read again
constexpr double kSlowBytesPerSecond = 17e9;         // transformed weights that do not stay in the last cache
constexpr double kLastCacheBytes = 12e6;
constexpr double kConstantBytesPerSecond = 75e9;  // prepacked weights: mostly read behind the sums

/// Multiplications and additions of pixels inside the image.
double direct_flops(const Conv2dGeometry& conv) {
  double pairs = 0;
  for (const Region& region : plan_forward(conv).regions) {
    pairs += double(region.destination.size()) * double(region.taps());
  }
  return 2 * pairs * double(conv.group_c()) * double(conv.k);
}

double gemm_seconds(const Conv2dCall& call, double flops, double flops_per_second) {
  const double weight_bytes = double(sizeof(float)) * double(numel(call.conv.weight_shape()));
  return flops / flops_per_second +
         weight_bytes / (call.constant ? kConstantBytesPerSecond : kPackedBytesPerSecond);
}

double winograd_seconds(const Conv2dCall& call, int64_t out) {
  const Conv2dGeometry& conv = call.conv;
  // In a forward pass tiles cover the output. For the weight's gradient tiles cover the output's gradient.
  const bool backward_input = call.pass == Conv2dPass::kBackwardInput;
  const int64_t height = backward_input ? conv.h : conv.p, width = backward_input ? conv.w : conv.q;
  const double points = double((out + 2) * (out + 2));
  const int64_t rows = ceil_div(height, out), columns = ceil_div(width, out);
  const double tiles = double(conv.n * rows * columns);
  const double element = double(sizeof(float)), channels = double(conv.c) * double(conv.k);
  const double weight_bytes = element * points * channels;
  const double speed = call.constant                    ? kConstantBytesPerSecond
                       : weight_bytes < kLastCacheBytes ? kTransformedBytesPerSecond
                                                        : kSlowBytesPerSecond;
  return 2 * tiles * points * channels / kFlopsPerSecond +
         element * tiles * points * double(conv.c + conv.k) / kTransformBytesPerSecond + weight_bytes / speed;
}

/// Calls the function for the call's pass, with pointers to its numbers of type T.
template <class T, class Forward, class BackwardInput, class BackwardWeight>
void run_pass(const Conv2dCall& call, Forward&& forward, BackwardInput&& backward_input,
              BackwardWeight&& backward_weight) {
  T *const x = call.x.data<T>(), *const weight = call.weight.data<T>(), *const y = call.y.data<T>();
  const T *const read_x = x, *const read_weight = weight, *const read_y = y;
  const auto data = [](const Tensor& of) { return of.defined() ? of.data<T>() : nullptr; };
  const ConvEpilogue<T> epilogue = {data(call.bias), data(call.residual), call.relu};
  switch (call.pass) {
    case Conv2dPass::kForward:
      return forward(call.conv, read_x, read_weight, epilogue, y);
    case Conv2dPass::kBackwardInput:
      return backward_input(call.conv, read_y, read_weight, x);
    case Conv2dPass::kBackwardWeight:
      return backward_weight(call.conv, read_y, read_x, weight);
  }
}

/// Returns what the algorithm named here makes of the weight; it is kept if the weight is constant.
template <class Make>
auto prepared_weight(const Conv2dCall& call, std::string_view algorithm, Make&& make) {
  using Form = decltype(make());
  return call.constant ? call.constant->form(algorithm, make) : std::make_shared<const Form>(make());
}

template <class T>
ChannelMoments<T> moments_of(const Conv2dCall& call) {
  if (!call.moments.mean.defined()) return {};
  return {call.moments.mean.data<T>(), call.moments.var.data<T>()};
}

template <class T>
void run_gemm(const Conv2dCall& call, void*) {
  run_pass<T>(
      call,
      [&](const Conv2dGeometry& conv, const T* x, const T* weight, const ConvEpilogue<T>& epilogue, T* y) {
        const auto packed =
            prepared_weight(call, "gemm", [&] { return implicit_gemm_pack_weight(conv, weight); });
        implicit_gemm_forward_cpu(conv, x, *packed, epilogue, y, moments_of<T>(call));
      },
      implicit_gemm_backward_input_cpu<T>, implicit_gemm_backward_weight_cpu<T>);
}

template <class T>
void run_depthwise(const Conv2dCall& call, void*) {
  run_pass<T>(call, depthwise_forward_cpu<T>, depthwise_backward_input_cpu<T>,
              depthwise_backward_weight_cpu<T>);
}

template <class T, int kOut>
void run_winograd(const Conv2dCall& call, void*) {
  run_pass<T>(
      call,
      [&](const Conv2dGeometry& conv, const T* x, const T* weight, const ConvEpilogue<T>& epilogue, T* y) {
        const auto transformed = prepared_weight(call, kOut == 2 ? "winograd 2x2" : "winograd 4x4", [&] {
          return winograd_transform_weight<T, kOut>(conv, weight);
        });
        winograd_forward_cpu<T, kOut>(conv, x, *transformed, epilogue, y, moments_of<T>(call));
      },
      winograd_backward_input_cpu<T, kOut>, winograd_backward_weight_cpu<T, kOut>);
}

/// T: Half or BFloat16.
template <class T, class K>
void run_half(const K& kernel, const Conv2dCall& call) {
  const Conv2dGeometry& conv = call.conv;
  T *const x = call.x.data<T>(), *const y = call.y.data<T>();
  if (call.pass == Conv2dPass::kBackwardWeight) {
    return call.weight.dtype() == kFloat32
               ? half_conv_backward_weight<K, T, float>(kernel, conv, y, x, call.weight.data<float>())
               : half_conv_backward_weight<K, T, T>(kernel, conv, y, x, call.weight.data<T>());
  }
  const T* const weight = call.weight.data<T>();
  if (call.pass == Conv2dPass::kBackwardInput)
    return half_conv_backward_input<K, T>(kernel, conv, y, weight, x);
  const auto packed = prepared_weight(call, K::kUnit == 2 ? "pairs" : "gemm",
                                      [&] { return half_conv_pack_weight<K>(conv, weight); });
  const Tensor bias = call.bias.defined() ? cast(call.bias, kFloat32) : call.bias;
  half_conv_forward<K, T>(kernel, conv, x, *packed,
                          {bias.defined() ? bias.data<float>() : nullptr,
                           call.residual.defined() ? call.residual.data<T>() : nullptr, call.relu},
                          y, moments_of<float>(call));
}

#if TAPER_HAVE_AVX512BF16
template <const PairKernel& kKernel>
void run_pairs(const Conv2dCall& call, void*) {
  run_half<BFloat16>(kKernel, call);
}
#endif

template <class T>
void run_widening(const Conv2dCall& call, void*) {
  run_half<T>(WideningKernel(), call);
}

template <class T>
std::vector<Algorithm> winograd_of(const Conv2dCall& call) {
  const bool supported = supports_winograd<T>(call.conv);
  return {{.name = "winograd 2x2",
           .supported = supported,
           .rank = winograd_seconds(call, 2),
           .run = run_winograd<T, 2>},
          {.name = "winograd 4x4",
           .supported = supported,
           .rank = winograd_seconds(call, 4),
           .run = run_winograd<T, 4>}};
}

/// The algorithms that compute in f32 or f64 what they store, T.
template <class T>
std::vector<Algorithm> algorithms_of(const Conv2dCall& call) {
  const Conv2dGeometry& conv = call.conv;
  const double flops = direct_flops(conv);
  const bool depthwise = conv.is_depthwise();
  std::vector<Algorithm> list = {
      {.name = "gemm",
       .rank = depthwise ? flops / kScalarFlopsPerSecond : gemm_seconds(call, flops, kFlopsPerSecond),
       .run = run_gemm<T>}};
  append(list, with_moments_after(call, {{.name = "depthwise",
                                          .supported = depthwise,
                                          .rank = flops / (2 * kScalarFlopsPerSecond),
                                          .run = run_depthwise<T>}}));
  // In double, which is asked for where accuracy counts, sums stay direct.
  if constexpr (std::is_same_v<T, float>) append(list, winograd_of<T>(call));
  return list;
}

/// The algorithms for 16-bit numbers.
std::vector<Algorithm> half_algorithms(const Conv2dCall& call) {
  const double flops = direct_flops(call.conv);
  const bool depthwise = call.conv.is_depthwise(), bf16 = call.x.dtype() == kBFloat16;
  [[maybe_unused]] const bool pairs =
      bf16 && !depthwise && supports_pairs(call.conv, call.pass == Conv2dPass::kBackwardInput);
  std::vector<Algorithm> list = {
      {.name = "gemm",
       .rank = depthwise ? flops / kScalarFlopsPerSecond : gemm_seconds(call, flops, kFlopsPerSecond),
       .run = bf16 ? run_widening<BFloat16> : run_widening<Half>}};
#if TAPER_HAVE_AVX512BF16
  append(list, {{.name = "avx512-bf16",
                 .supported = pairs && cpu_level() >= CpuLevel::kAvx512Bf16,
                 .rank = gemm_seconds(call, flops, kFlopsPerSecond * bf16_dot_speed()),
                 .run = run_pairs<kBf16DotKernel>}});
#endif
#if TAPER_HAVE_AMX
  append(list, {{.name = "amx",
                 .supported = pairs && cpu_level() >= CpuLevel::kAmx,
                 .rank = gemm_seconds(call, flops, kTileFlopsPerSecond),
                 .run = run_pairs<kAmxKernel>}});
#endif
  // What the algorithms for f32 have and those above lack: fewer multiplications.
  Conv2dCall without_moments = call;
  without_moments.moments = {};
  std::vector<Algorithm> wide = algorithms_of<float>(without_moments);
  wide.erase(wide.begin());
  for (Algorithm& algorithm : wide) {
    algorithm.rank += double(call.x.numel() + call.y.numel()) / kCastsPerSecond;
  }
  append(list, with_moments_after(call, with_casts_around(std::move(wide))));
  return list;
}

}  // namespace

std::vector<Algorithm> conv2d_cpu_algorithms(const Conv2dCall& call) {
  const DType dtype = call.x.dtype();
  return with_prologue_before(call, is_half(dtype)      ? half_algorithms(call)
                                    : dtype == kFloat64 ? algorithms_of<double>(call)
                                                        : algorithms_of<float>(call));
}

std::vector<Algorithm> winograd_f64_algorithms(const Conv2dCall& call) {
  return winograd_of<double>(call);
}

}  // namespace taper::ops
