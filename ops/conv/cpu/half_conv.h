#pragma once
// Convolution of 16-bit numbers as a matrix product on the CPU: implicit_gemm.h with the kernels of
// gemm/cpu/half_kernel.h. K: a kernel; T: Half or BFloat16.

#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/gemm/cpu/half_gemm.h"
#include "taper/ops/moments/chunk_moments_cpu.h"

namespace taper::ops {

/// Whether a kernel for pairs can compute a pass. A pair is two channels of one tap, so an odd number of
/// channels needs a depth without gaps.
bool supports_pairs(const Conv2dGeometry& conv, bool backward_input);

/// What follows the sums of a forward pass. bias: f32.
template <class T>
struct HalfEpilogue {
  const float* bias = nullptr;
  const T* residual = nullptr;
  bool relu = false;
};

/// The weight prepacked for the forward pass, for each group.
template <class K, class T>
std::vector<PackedHalves<K>> half_conv_pack_weight(const Conv2dGeometry& conv, const T* weight);

/// Arguments as for implicit_gemm.h. `moments` are of y after rounding.
template <class K, class T>
void half_conv_forward(const K& kernel, const Conv2dGeometry& conv, const T* x,
                       const std::vector<PackedHalves<K>>& weight, const HalfEpilogue<T>& epilogue, T* y,
                       const ChannelMoments<float>& moments = {});
template <class K, class T>
void half_conv_backward_input(const K& kernel, const Conv2dGeometry& conv, const T* grad, const T* weight,
                              T* grad_x);
/// Out: T or float.
template <class K, class T, class Out>
void half_conv_backward_weight(const K& kernel, const Conv2dGeometry& conv, const T* grad, const T* x,
                               Out* grad_weight);

}  // namespace taper::ops
