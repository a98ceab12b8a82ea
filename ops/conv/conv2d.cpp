#include "taper/ops/conv/conv2d.h"  // spine 17 (docs/0-the-spine.md)

#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/check.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

int64_t output_size(std::string_view op, std::string_view axis, int64_t input, int64_t kernel, int64_t stride,
                    int64_t padding, int64_t dilation) {
  const int64_t reach = checked_add(checked_mul(dilation, kernel - 1, op), 1, op);
  const int64_t padded = checked_add(input, checked_mul(2, padding, op), op);
  TAPER_CHECK(
      padded >= reach,
      "{}: the kernel covers {} pixels along the {} (size {}, dilation {}) but the input has {} with padding "
      "{}; use a larger image, more padding or a smaller kernel",
      op, reach, axis, kernel, dilation, padded, padding);
  return (padded - reach) / stride + 1;
}

/// Returns the tensor as algorithms read it; undefined stays undefined.
Tensor dense(const Tensor& x, DType dtype, MemoryFormat format) {
  return x.defined() ? contiguous(cast(x, dtype), format) : x;
}

/// Makes both operands channels_last. Throws Error naming `op` unless both have one floating-point
/// dtype and one device.
void make_readable(std::string_view op, Tensor& a, Tensor& b) {
  const DType dtype = a.dtype();
  check_floating_point(op, a);
  check_same_device(op, a, b);
  TAPER_CHECK(b.dtype() == dtype, "{}: operands must have one dtype, got {} and {}; convert one with .to()",
              op, dtype, b.dtype());
  a = dense(a, dtype, kChannelsLast);
  b = dense(b, dtype, kChannelsLast);
}

Tensor empty_channels_last(const Shape& shape, const Tensor& like, std::optional<DType> dtype = {}) {
  return empty(
      shape,
      {.dtype = dtype.value_or(like.dtype()), .device = like.device(), .memory_format = kChannelsLast});
}

BatchMoments empty_moments(const Tensor& y) {
  const auto make = [&] {
    return empty({y.size(1)}, {.dtype = compute_dtype(y.dtype()), .device = y.device()});
  };
  return {make(), make()};
}

void check_dimensions(std::string_view op, std::string_view what, const Shape& shape,
                      std::string_view letters) {
  TAPER_CHECK(shape.size() == 4, "{}: {} must be {}, got {}", op, what, letters, shape);
}

void run(const Conv2dCall& call) {
  if (call.result().numel() == 0) return;
  algorithm_cache().run(call, call.x.device().is_cuda() ? conv2d_gpu_algorithms : conv2d_cpu_algorithms);
}

/// Throws Error naming `op` unless the optional operand fits y.
void check_epilogue(std::string_view op, std::string_view what, const Tensor& operand, const Shape& shape,
                    const Tensor& x) {
  if (!operand.defined()) return;
  TAPER_CHECK(operand.shape() == shape, "{}: {} must be {}, got {}", op, what, shape, operand.shape());
  TAPER_CHECK(operand.dtype() == x.dtype(),
              "{}: {} must have the input's dtype {}, got {}; convert it with .to()", op, what, x.dtype(),
              operand.dtype());
  check_same_device(op, x, operand);
}

void check_prologue(std::string_view op, const Conv2dPrologue& prologue, const Tensor& x) {
  TAPER_CHECK(prologue.scale.defined() == prologue.shift.defined(),
              "{}: the prologue's scale and shift must be given together", op);
  if (!prologue.scale.defined()) return;
  for (const Tensor& operand : {prologue.scale, prologue.shift}) {
    const DType dtype = operand.dtype();
    TAPER_CHECK(
        operand.shape() == Shape{x.size(1)} && (dtype == x.dtype() || dtype == compute_dtype(x.dtype())),
        "{}: the prologue's scale and shift must be {} or {} [{}] for the input {}, got {} {}", op, x.dtype(),
        compute_dtype(x.dtype()), x.size(1), x.shape(), dtype, operand.shape());
    check_same_device(op, x, operand);
  }
}

/// Checks what `call` asks for and computes it.
Conv2dMoments forward(std::string_view op, Conv2dCall call, const Conv2dOptions& options,
                      bool wants_moments = false) {
  check_defined(op, "input", call.x);
  check_defined(op, "weight", call.weight);
  call.conv = conv2d_geometry(op, call.x.shape(), call.weight.shape(), options);
  const Shape shape = call.conv.output_shape();
  check_epilogue(op, "bias", call.bias, {call.conv.k}, call.x);
  check_epilogue(op, "residual", call.residual, shape, call.x);
  check_prologue(op, call.prologue, call.x);
  make_readable(op, call.x, call.weight);
  const DType dtype = call.x.dtype();
  call.y = empty_channels_last(shape, call.x);
  call.bias = dense(call.bias, dtype, kContiguous);
  call.residual = dense(call.residual, dtype, kChannelsLast);
  call.prologue.scale = dense(call.prologue.scale, compute_dtype(dtype), kContiguous);
  call.prologue.shift = dense(call.prologue.shift, compute_dtype(dtype), kContiguous);
  if (call.y.device().is_cuda()) call.constant = nullptr;
  if (wants_moments && call.y.numel() > 0) call.moments = empty_moments(call.y);
  run(call);
  return {call.y, wants_moments && !call.moments.mean.defined() ? batch_moments(call.y) : call.moments};
}

}  // namespace

Conv2dGeometry conv2d_geometry(std::string_view op, const Shape& input_shape, const Shape& weight_shape,
                               const Conv2dOptions& options) {
  check_dimensions(op, "input", input_shape, "[N, C, H, W]");
  check_dimensions(op, "weight", weight_shape, "[K, C / groups, R, S]");
  TAPER_CHECK(options.stride.h > 0 && options.stride.w > 0, "{}: stride must be at least 1, got {}", op,
              options.stride);
  TAPER_CHECK(options.dilation.h > 0 && options.dilation.w > 0, "{}: dilation must be at least 1, got {}", op,
              options.dilation);
  TAPER_CHECK(options.padding.h >= 0 && options.padding.w >= 0, "{}: padding must not be negative, got {}",
              op, options.padding);
  TAPER_CHECK(options.groups >= 1, "{}: groups must be at least 1, got {}", op, options.groups);
  const int64_t weight_channels = checked_mul(weight_shape[1], options.groups, op);
  TAPER_CHECK(weight_channels == input_shape[1],
              "{}: weight has {} input channels but input {} has {} (groups = {})", op, weight_channels,
              input_shape, input_shape[1], options.groups);
  TAPER_CHECK(weight_shape[0] % options.groups == 0, "{}: {} output channels do not divide into {} groups",
              op, weight_shape[0], options.groups);
  TAPER_CHECK(weight_shape[2] > 0 && weight_shape[3] > 0,
              "{}: the kernel must cover at least one pixel, got weight {}", op, weight_shape);
  Conv2dGeometry conv{.n = input_shape[0],
                      .c = input_shape[1],
                      .h = input_shape[2],
                      .w = input_shape[3],
                      .k = weight_shape[0],
                      .r = weight_shape[2],
                      .s = weight_shape[3],
                      .options = options};
  conv.p = output_size(op, "height", conv.h, conv.r, options.stride.h, options.padding.h, options.dilation.h);
  conv.q = output_size(op, "width", conv.w, conv.s, options.stride.w, options.padding.w, options.dilation.w);
  return conv;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options) {
  const OpCall call("conv2d", x, weight, bias);
  return forward("conv2d", {.x = x, .weight = weight, .bias = bias}, options).y;
}

Tensor conv2d_fused(const Tensor& x, const Tensor& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options, const Conv2dPrologue& prologue) {
  const auto& [bias, residual, relu] = epilogue;
  const OpCall call("conv2d_fused", x, weight, bias, residual);
  return forward("conv2d_fused",
                 {.x = x,
                  .weight = weight,
                  .bias = bias,
                  .residual = residual,
                  .relu = relu,
                  .prologue = prologue},
                 options)
      .y;
}

Tensor conv2d_fused(const Tensor& x, const ConstantWeight& weight, const Conv2dEpilogue& epilogue,
                    const Conv2dOptions& options) {
  const auto& [bias, residual, relu] = epilogue;
  const OpCall call("conv2d_fused", x, weight.tensor(), bias, residual);
  return forward("conv2d_fused",
                 {.x = x,
                  .weight = weight.tensor(),
                  .bias = bias,
                  .residual = residual,
                  .relu = relu,
                  .constant = &weight},
                 options)
      .y;
}

Conv2dMoments conv2d_moments(const Tensor& x, const Tensor& weight, const Conv2dOptions& options,
                             const Conv2dPrologue& prologue) {
  const OpCall call("conv2d", x, weight);
  return forward("conv2d", {.x = x, .weight = weight, .prologue = prologue}, options, true);
}

Tensor conv2d_backward_input(const Tensor& grad, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d_backward_input";
  const OpCall call(op, grad, weight);
  check_defined(op, "grad", grad);
  check_defined(op, "weight", weight);
  const Conv2dGeometry conv = conv2d_geometry(op, input_shape, weight.shape(), options);
  TAPER_CHECK(grad.shape() == conv.output_shape(), "{}: grad must have the output's shape {}, got {}", op,
              conv.output_shape(), grad.shape());
  Conv2dCall asked = {.pass = Conv2dPass::kBackwardInput, .conv = conv, .weight = weight, .y = grad};
  make_readable(op, asked.y, asked.weight);
  asked.x = empty_channels_last(input_shape, asked.y);
  run(asked);
  return asked.x;
}

Tensor conv2d_backward_weight(const Tensor& grad, const Tensor& x, const Shape& weight_shape,
                              const Conv2dOptions& options, std::optional<DType> weight_dtype) {
  constexpr std::string_view op = "conv2d_backward_weight";
  const OpCall call(op, grad, x);
  check_defined(op, "grad", grad);
  check_defined(op, "input", x);
  const Conv2dGeometry conv = conv2d_geometry(op, x.shape(), weight_shape, options);
  TAPER_CHECK(grad.shape() == conv.output_shape(), "{}: grad must have the output's shape {}, got {}", op,
              conv.output_shape(), grad.shape());
  const DType dtype = checked_result_dtype(op, grad.dtype(), weight_dtype);
  Conv2dCall asked = {.pass = Conv2dPass::kBackwardWeight, .conv = conv, .x = x, .y = grad};
  make_readable(op, asked.y, asked.x);
  asked.weight = empty_channels_last(weight_shape, asked.x, dtype);
  run(asked);
  return asked.weight;
}

}  // namespace taper::ops
