#pragma once
// Winograd convolution on the CPU: 3x3 kernels of stride 1. Tiles of the image are transformed, each of their
// (kOut + 2)^2 points takes one matrix product over the channels, and the results are transformed back; see
// winograd_transforms.h. Tiles go through in batches whose transforms stay in the cache.

#include "taper/ops/conv/conv2d_geometry.h"
#include "taper/ops/gemm/cpu/gemm_pack.h"
#include "taper/ops/moments/chunk_moments_cpu.h"

namespace taper::ops {

/// Returns whether these kernels can compute it: 3x3, stride 1, no dilation or groups, padding of at most 2,
/// both numbers of channels multiples of a SIMD vector.
template <class T>
bool supports_winograd(const Conv2dGeometry& conv);

/// The weight transformed for the forward pass: a packed [C, K] matrix for each of the (kOut + 2)^2 points.
template <class T, int kOut>
std::vector<PackedColumns<T>> winograd_transform_weight(const Conv2dGeometry& conv, const T* weight);

/// Arguments as for implicit_gemm_forward_cpu and its gradients. kOut: 2 or 4, outputs along a side of a
/// tile. Rounding errors are about 1.5 times (kOut = 2) and 4 times (kOut = 4) those of direct sums; the
/// largest error among many results is 2 and 9 times that of direct sums.
template <class T, int kOut>
void winograd_forward_cpu(const Conv2dGeometry& conv, const T* x, const std::vector<PackedColumns<T>>& weight,
                          const ConvEpilogue<T>& epilogue, T* y, const ChannelMoments<T>& moments = {});
template <class T, int kOut>
void winograd_backward_input_cpu(const Conv2dGeometry& conv, const T* grad, const T* weight, T* grad_x);
template <class T, int kOut>
void winograd_backward_weight_cpu(const Conv2dGeometry& conv, const T* grad, const T* x, T* grad_weight);

}  // namespace taper::ops
