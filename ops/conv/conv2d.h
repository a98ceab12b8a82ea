#pragma once  // spine 15 (docs/0-the-spine.md)
// 2-d convolution and its two gradients. All three are bilinear maps over the same index set: each output
// pixel (n, p, q) sees, through kernel tap (r, s), the input pixel
//
//   (n, h, w) = (n, p * stride.h - padding.h + r * dilation.h, q * stride.w - padding.w + s * dilation.w)
//
// and over all such (pixel, tap) pairs that fall inside the image
//
//   conv2d                  y[n, k, p, q]  = sum over c, r, s   of  x[n, c, h, w] * weight[k, c, r, s]
//   conv2d_backward_input   gx[n, c, h, w] = sum over k, r, s   of  g[n, k, p, q] * weight[k, c, r, s]
//   conv2d_backward_weight  gw[k, c, r, s] = sum over n, p, q   of  g[n, k, p, q] * x[n, c, h, w]
//
// With groups, output channel k sees only the input channels of its own group, numbered from 0 in `weight`.
// Everything runs channels_last: images as [N, H, W, C] in memory and weights as [K, R, S, C]; other layouts
// are converted at entry. PyTorch's counterpart: ATen/native/Convolution.cpp.

#include <optional>

#include "taper/core/tensor.h"
#include "taper/ops/int_pair.h"
#include "taper/ops/moments/batch_moments.h"

namespace taper {

/// Conv2dOptions{.stride = 2, .padding = {1, 0}}.
struct Conv2dOptions {
  IntPair stride = 1;
  IntPair padding = 0;  ///< zeros added on both sides
  IntPair dilation = 1;
  int64_t groups = 1;
};

/// What happens to a convolution's input before it is multiplied: relu(x * scale + shift). A batch norm and
/// its ReLU, for example, then need not be written to memory. Padding is added afterwards. (cuDNN: the
/// scale-bias-ReLU prologue)
struct Conv2dPrologue {
  Tensor scale = {};  ///< [C]; undefined for no prologue
  Tensor shift = {};  ///< [C]; given with scale
  bool relu = true;   ///< then clamp at 0
};

/// What follows a convolution before its result is stored: y = relu(conv2d(x, weight) + bias + residual), in
/// one pass over memory. (cuDNN and CUTLASS: the epilogue)
struct Conv2dEpilogue {
  Tensor bias = {};      ///< [K]; undefined for none
  Tensor residual = {};  ///< as y; undefined for none
  bool relu = false;     ///< then clamp at 0: NaN stays NaN, though a vendor's library may make it 0
};

/// A convolution's result and its moments, which a batch norm in training needs.
struct Conv2dMoments {
  Tensor y;              ///< the convolution's result
  BatchMoments moments;  ///< of y's channels, after rounding to y's dtype
};

namespace ops {

class ConstantWeight;

/// x: [N, C, H, W], weight: [K, C / groups, R, S], bias: [K] or undefined; all f32, f64, f16 or bf16 (half
/// types multiply and accumulate in f32). Returns [N, K, P, Q], channels_last. P = (H + 2 * padding -
/// dilation * (R - 1) - 1) / stride + 1, and Q follows from W and S. Throws Error if shapes, dtypes or
/// options do not fit. (torch.nn.functional.conv2d; cuDNN: ConvolutionFwd)
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const Conv2dOptions& options = {});

/// Returns conv2d() with a prologue and an epilogue. epilogue.residual: [N, K, P, Q] in x's dtype. The
/// prologue's tensors: in x's dtype or compute dtype. Half types round at the end, and may round the
/// prologue's result. Throws Error as conv2d() does, or if one of these tensors does not fit.
/// (torch.cudnn_convolution_add_relu)
Tensor conv2d_fused(const Tensor& x, const Tensor& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options = {}, const Conv2dPrologue& prologue = {});

/// conv2d_fused() with a constant weight, which the CPU's kernels prepack once instead of in every call.
Tensor conv2d_fused(const Tensor& x, const ConstantWeight& weight, const Conv2dEpilogue& epilogue = {},
                    const Conv2dOptions& options = {});

/// Returns conv2d() without a bias, and batch_moments() of the result. They are gathered while y is computed
/// where that is cheap, so that batch_norm_training() need not read y for them: on the CPU, and on a GPU for
/// all but f64. prologue, errors: as for conv2d_fused(). (cuDNN: ConvolutionFwd, GENSTATS)
Conv2dMoments conv2d_moments(const Tensor& x, const Tensor& weight, const Conv2dOptions& options = {},
                             const Conv2dPrologue& prologue = {});

/// Returns the gradient of sum(grad * conv2d(x, weight)) with respect to x: [N, C, H, W] = `input_shape`,
/// channels_last. grad: [N, K, P, Q]. (torch.nn.grad.conv2d_input; cuDNN: ConvolutionBwdData)
Tensor conv2d_backward_input(const Tensor& grad, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options = {});

/// Returns the gradient of sum(grad * conv2d(x, weight)) with respect to the weight: [K, C / groups, R, S] =
/// `weight_shape`, channels_last. weight_dtype: of the result, by default grad's; f32 for half types stores
/// the f32 sums unrounded, though a vendor's library may round them. Throws Error for any other.
/// (torch.nn.grad.conv2d_weight; cuDNN: ConvolutionBwdFilter)
Tensor conv2d_backward_weight(const Tensor& grad, const Tensor& x, const Shape& weight_shape,
                              const Conv2dOptions& options = {}, std::optional<DType> weight_dtype = {});

}  // namespace ops
}  // namespace taper
