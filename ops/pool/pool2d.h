#pragma once
// Pooling over the height and width of images. Everything runs channels_last; other layouts are converted at
// entry. PyTorch's counterparts: ATen/native/Pool.h, DilatedMaxPool2d.cpp, AveragePool2d.cpp and
// AdaptiveAveragePooling.cpp.

#include "taper/core/tensor.h"
#include "taper/ops/int_pair.h"

namespace taper {

/// MaxPool2dOptions{.kernel = 3, .stride = 2, .padding = 1}.
struct MaxPool2dOptions {
  IntPair kernel;
  IntPair stride = 0;   ///< 0: equal to the kernel
  IntPair padding = 0;  ///< never chosen as the maximum; at most half the kernel
  IntPair dilation = 1;
  bool ceil_mode = false;  ///< keep a last window that reaches past the edge
};

struct AvgPool2dOptions {
  IntPair kernel;
  IntPair stride = 0;   ///< 0: equal to the kernel
  IntPair padding = 0;  ///< at most half the kernel
  bool ceil_mode = false;
  bool count_include_pad = true;  ///< divide by the whole window, padding included
};

namespace ops {

struct MaxPool2dOutput {
  Tensor y;
  Tensor indices;  ///< i64, shape of y: h * W + w of each maximum in its image
};

/// x: [N, C, H, W], f32, f64, f16 or bf16. y: [N, C, P, Q] with P = (H + 2 * padding - dilation * (kernel -
/// 1) - 1) / stride + 1, rounded down, or up in ceil_mode. The last window must begin inside the image or the
/// left padding; in ceil_mode a window may exceed the padded image by less than a stride. Of equal values the
/// first wins; NaN wins over numbers. Throws Error if shapes or options do not fit, and for a window that
/// sees nothing but padding. (torch.nn.functional.max_pool2d, return_indices=True)
MaxPool2dOutput max_pool2d(const Tensor& x, const MaxPool2dOptions& options);

/// Returns max_pool2d's y alone, for callers that need no gradient: the indices are most of what max_pool2d
/// writes. (torch.nn.functional.max_pool2d)
Tensor max_pool2d_values(const Tensor& x, const MaxPool2dOptions& options);

/// Returns the gradient of max_pool2d with respect to x: zeros of `input_shape` [N, C, H, W], plus each
/// element of grad [N, C, P, Q] at its index. `indices`: those of max_pool2d with these options. Throws Error
/// if an index lies outside the image (on a GPU the kernel ends instead, see core/gpu/device_check.h). The
/// gradient of an index inside the image but outside its window may be lost. (torch
/// max_pool2d_with_indices_backward)
Tensor max_pool2d_backward(const Tensor& grad, const Tensor& indices, const Shape& input_shape,
                           const MaxPool2dOptions& options);

/// Returns the elements of x [N, C, H, W] at indices [N, C, P, Q]: the transpose of max_pool2d_backward.
Tensor max_pool2d_gather(const Tensor& x, const Tensor& indices);

/// Returns the mean of each window; sizes as for max_pool2d. (torch.nn.functional.avg_pool2d)
Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options);
/// Returns the gradient of avg_pool2d with respect to an x of `input_shape`.
Tensor avg_pool2d_backward(const Tensor& grad, const Shape& input_shape, const AvgPool2dOptions& options);

/// Returns the mean of P x Q windows that cover x evenly: window p covers floor(p * H / P) to ceil((p + 1) *
/// H / P). Output size 1 is the global mean. (torch.nn.functional.adaptive_avg_pool2d)
Tensor adaptive_avg_pool2d(const Tensor& x, IntPair output_size);
/// Returns the gradient of adaptive_avg_pool2d with respect to an x of `input_shape`; grad: [N, C, P, Q].
Tensor adaptive_avg_pool2d_backward(const Tensor& grad, const Shape& input_shape);

}  // namespace ops
}  // namespace taper
