#include <algorithm>

#include "taper/core/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv2d_gpu.h"
#include "taper/ops/conv/depthwise_gpu.h"
#include "taper/ops/conv/implicit_gemm.h"
#include "taper/ops/matmul/gemm_gpu.h"
#include "taper/ops/matmul/gemm_typed.h"

namespace taper::ops {
namespace {

/// A convolution of single pixels: images are matrices as they lie.
bool is_plain_product(const Conv2dGeometry& conv) {
  const Conv2dOptions& o = conv.options;
  return conv.taps() == 1 && o.stride == IntPair(1) && o.padding == IntPair(0);
}

/// The kernels number pixels with 31 bits, padding included.
void check_pixels(const char* op, const Conv2dGeometry& conv) {
  TAPER_CHECK(std::max(conv.n * conv.h * conv.w, conv.n * conv.p * conv.q) < (int64_t(1) << 30),
              "{}: {} images of {}x{} are more than the 2^30 pixels that the GPU's kernels number; split the "
              "batch",
              op, conv.n, std::max(conv.h, conv.p), std::max(conv.w, conv.q));
}

/// x: [pixels, groups * channels] as a batch of one matrix for each group.
GpuMatrix pixels_by_group(const Tensor& x, int64_t channels, int64_t group_channels, bool transposed) {
  return {.data = x.data_ptr(), .stride = channels, .transposed = transposed, .batch_inner = group_channels};
}

/// weight: [K, C / groups], likewise.
GpuMatrix filters_by_group(const Conv2dGeometry& conv, const Tensor& weight, bool transposed) {
  return {.data = weight.data_ptr(),
          .stride = conv.group_c(),
          .transposed = transposed,
          .batch_inner = conv.group_k() * conv.group_c()};
}

}  // namespace

void conv2d_gpu(const Conv2dGeometry& conv, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const Tensor& y) {
  const gpu::DeviceGuard guard(y.device().index);
  check_pixels("conv2d", conv);
  if (conv.is_depthwise()) return depthwise_forward_gpu(conv, x, weight, bias, y);
  const void* const bias_ptr = bias.defined() ? bias.data_ptr() : nullptr;
  if (is_plain_product(conv)) {
    return gemm_gpu("conv2d", {.dtype = y.dtype(),
                               .sizes = {.m = conv.n * conv.p * conv.q,
                                         .n = conv.group_k(),
                                         .k = conv.group_c(),
                                         .batch_inner = conv.options.groups},
                               .a = pixels_by_group(x, conv.c, conv.group_c(), false),
                               .b = filters_by_group(conv, weight, true),
                               .c = pixels_by_group(y, conv.k, conv.group_k(), false),
                               .bias = bias_ptr,
                               .bias_batch_inner = conv.group_k()});
  }
  dispatch_device_float(y.dtype(), [&]<class T>() {
    implicit_gemm_forward<T>(conv, x.data_ptr(), weight.data_ptr(), bias_ptr, y.data_ptr());
  });
}

void conv2d_backward_input_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& weight,
                               const Tensor& grad_x) {
  const gpu::DeviceGuard guard(grad_x.device().index);
  check_pixels("conv2d_backward_input", conv);
  if (conv.is_depthwise()) return depthwise_backward_input_gpu(conv, grad, weight, grad_x);
  if (is_plain_product(conv)) {
    return gemm_gpu("conv2d_backward_input", {.dtype = grad_x.dtype(),
                                              .sizes = {.m = conv.n * conv.p * conv.q,
                                                        .n = conv.group_c(),
                                                        .k = conv.group_k(),
                                                        .batch_inner = conv.options.groups},
                                              .a = pixels_by_group(grad, conv.k, conv.group_k(), false),
                                              .b = filters_by_group(conv, weight, false),
                                              .c = pixels_by_group(grad_x, conv.c, conv.group_c(), false)});
  }
  dispatch_device_float(grad_x.dtype(), [&]<class T>() {
    implicit_gemm_backward_input<T>(conv, grad.data_ptr(), weight.data_ptr(), grad_x.data_ptr());
  });
}

void conv2d_backward_weight_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                                const Tensor& grad_weight) {
  const gpu::DeviceGuard guard(grad_weight.device().index);
  check_pixels("conv2d_backward_weight", conv);
  if (conv.is_depthwise()) return depthwise_backward_weight_gpu(conv, grad, x, grad_weight);
  if (is_plain_product(conv)) {
    return gemm_gpu("conv2d_backward_weight", {.dtype = grad_weight.dtype(),
                                               .sizes = {.m = conv.group_k(),
                                                         .n = conv.group_c(),
                                                         .k = conv.n * conv.p * conv.q,
                                                         .batch_inner = conv.options.groups},
                                               .a = pixels_by_group(grad, conv.k, conv.group_k(), true),
                                               .b = pixels_by_group(x, conv.c, conv.group_c(), false),
                                               .c = filters_by_group(conv, grad_weight, false)});
  }
  dispatch_device_float(grad_weight.dtype(), [&]<class T>() {
    implicit_gemm_backward_weight<T>(conv, grad.data_ptr(), x.data_ptr(), grad_weight.data_ptr());
  });
}

}  // namespace taper::ops
