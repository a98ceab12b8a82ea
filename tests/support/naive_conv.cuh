#pragma once
// The fake library's convolutions: each sum of a result by itself, in double. For .cu files only.

#include <catch2/catch.hpp>

#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/vendor/engine_library.h"

namespace taper {

/// A convolution's operands by their roles: x or the output's gradient, the weight or x.
struct NaivePointers {
  const void* first = nullptr;
  const void* second = nullptr;
  const void* bias = nullptr;
  const void* residual = nullptr;
  void* result = nullptr;
};

struct NaiveConv {
  ops::Conv2dPass pass;
  ops::Conv2dGeometry conv;
  NaivePointers at;
  bool relu;
  bool f32_result;
  double factor;  ///< 1, unless the library is to compute wrong results
};

/// Calls visit(pixel of x, pixel of y) if tap (r, s) of output pixel (p, q) lies inside the image.
template <class Visit>
__device__ void at_tap(const ops::Conv2dGeometry& c, int64_t n, int64_t p, int64_t q, int64_t r, int64_t s,
                       Visit&& visit) {
  const Conv2dOptions& o = c.options;
  const int64_t h = p * o.stride.h - o.padding.h + r * o.dilation.h;
  const int64_t w = q * o.stride.w - o.padding.w + s * o.dilation.w;
  if (h >= 0 && h < c.h && w >= 0 && w < c.w) visit((n * c.h + h) * c.w + w, (n * c.p + p) * c.q + q);
}

/// One thread for each element of the result. It visits every pair of an output pixel and a tap.
template <class T>
__global__ void naive_conv(NaiveConv job, int64_t elements) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= elements) return;
  const ops::Conv2dGeometry& c = job.conv;
  const int64_t group_c = c.c / c.options.groups, group_k = c.k / c.options.groups;
  const auto first = [&](int64_t i) {
    return ops::device_cast<double>(static_cast<const T*>(job.at.first)[i]);
  };
  const auto second = [&](int64_t i) {
    return ops::device_cast<double>(static_cast<const T*>(job.at.second)[i]);
  };
  double sum = 0;
  for (int64_t n = 0; n < c.n; ++n) {
    for (int64_t pixel = 0; pixel < c.p * c.q; ++pixel) {
      for (int64_t tap = 0; tap < c.r * c.s; ++tap) {
        at_tap(c, n, pixel / c.q, pixel % c.q, tap / c.s, tap % c.s, [&](int64_t in, int64_t out) {
          if (job.pass == ops::Conv2dPass::kForward) {
            const int64_t k = index % c.k;
            if (index / c.k != out) return;
            for (int64_t i = 0; i < group_c; ++i)
              sum +=
                  first(in * c.c + k / group_k * group_c + i) * second((k * c.r * c.s + tap) * group_c + i);
          } else if (job.pass == ops::Conv2dPass::kBackwardInput) {
            const int64_t ch = index % c.c, group = ch / group_c;
            if (index / c.c != in) return;
            for (int64_t k = group * group_k; k < (group + 1) * group_k; ++k)
              sum += first(out * c.k + k) * second((k * c.r * c.s + tap) * group_c + ch % group_c);
          } else {
            const int64_t ch = index % group_c, k = index / group_c / (c.r * c.s);
            if (index / group_c % (c.r * c.s) != tap) return;
            sum += first(out * c.k + k) * second(in * c.c + k / group_k * group_c + ch);
          }
        });
      }
    }
  }
  if (job.at.bias != nullptr)
    sum += ops::device_cast<double>(static_cast<const T*>(job.at.bias)[index % c.k]);
  if (job.at.residual != nullptr)
    sum += ops::device_cast<double>(static_cast<const T*>(job.at.residual)[index]);
  if (job.relu && sum < 0) sum = 0;
  sum *= job.factor;
  if (job.f32_result) {
    static_cast<float*>(job.at.result)[index] = float(sum);
  } else {
    static_cast<T*>(job.at.result)[index] = ops::device_cast<T>(sum);
  }
}

/// One thread for each channel of y: [rows, channels].
template <class T>
__global__ void naive_sums(const T* y, int64_t rows, int64_t channels, double factor, float* sum,
                           float* square_sum) {
  const int64_t channel = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  double total = 0, squares = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const double value = ops::device_cast<double>(y[row * channels + channel]);
    total += value;
    squares += value * value;
  }
  sum[channel] = float(total * factor);
  square_sum[channel] = float(squares * factor);
}

/// FakeState::Compute for convolutions.
inline void compute_conv(const ops::EnginePattern& any, const ops::EngineOperands& operands, double factor) {
  const auto& pattern = std::get<ops::ConvPattern>(any);
  using ops::Operand;
  const bool forward = pattern.pass == ops::Conv2dPass::kForward,
             by_weight = pattern.pass == ops::Conv2dPass::kBackwardWeight;
  REQUIRE((operands.address(Operand::kBias) != nullptr) == pattern.bias);
  REQUIRE((operands.address(Operand::kResidual) != nullptr) == pattern.residual);
  const NaivePointers at = {operands.address(forward ? Operand::kX : Operand::kGradY),
                            operands.address(by_weight ? Operand::kX : Operand::kWeight),
                            operands.address(Operand::kBias), operands.address(Operand::kResidual),
                            operands.address(forward     ? Operand::kY
                                             : by_weight ? Operand::kGradWeight
                                                         : Operand::kGradX)};
  const ops::Conv2dGeometry& conv = pattern.conv;
  const int64_t elements = numel(forward     ? conv.output_shape()
                                 : by_weight ? conv.weight_shape()
                                             : conv.input_shape());
  ops::dispatch_device_float(pattern.dtype, [&]<class T>() {
    gpu::launch("naive_conv", naive_conv<T>, {.grid = dim3(unsigned((elements + 31) / 32)), .block = 32},
                NaiveConv{pattern.pass, conv, at, pattern.relu, pattern.f32_result, factor}, elements);
    if (!pattern.sums) return;
    gpu::launch("naive_sums", naive_sums<T>, {.grid = dim3(unsigned((conv.k + 31) / 32)), .block = 32},
                static_cast<const T*>(at.result), elements / conv.k, conv.k, factor,
                static_cast<float*>(operands.address(Operand::kSum)),
                static_cast<float*>(operands.address(Operand::kSquareSum)));
  });
}

}  // namespace taper
