#include "taper/ops/conv/gpu/product.h"

namespace taper::ops {
namespace {

void* data_of(const Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

/// x: [pixels, groups * group_channels], as a batch with one matrix for each group.
GpuMatrix pixels_by_group(const Tensor& x, int64_t group_channels, bool transposed) {
  return {.data = x.data_ptr(), .stride = x.size(1), .transposed = transposed, .batch_inner = group_channels};
}

/// weight: [K, C / groups], one matrix for each group.
GpuMatrix filters_by_group(const Conv2dGeometry& conv, const Tensor& weight, bool transposed) {
  return {.data = weight.data_ptr(),
          .stride = conv.group_c(),
          .transposed = transposed,
          .batch_inner = conv.group_k() * conv.group_c()};
}

GpuGemm gemm_of(const Conv2dCall& call) {
  const Conv2dGeometry& conv = call.conv;
  const int64_t pixels = conv.n * conv.p * conv.q, groups = conv.options.groups;
  const auto images = [&](const Tensor& x, bool transposed = false) {
    return pixels_by_group(x, x.size(1) / groups, transposed);
  };
  const auto filters = [&](const Tensor& weight, bool transposed = false) {
    return filters_by_group(conv, weight, transposed);
  };
  switch (call.pass) {
    case Conv2dPass::kForward:
      return {.sizes = {.m = pixels, .n = conv.group_k(), .k = conv.group_c(), .batch_inner = groups},
              .a = images(call.x),
              .b = filters(call.weight, true),
              .c = images(call.y),
              .bias = data_of(call.bias),
              .bias_batch_inner = conv.group_k(),
              .residual = data_of(call.residual),
              .activation = call.relu ? Activation::kRelu : Activation::kNone};
    case Conv2dPass::kBackwardInput:
      return {.sizes = {.m = pixels, .n = conv.group_c(), .k = conv.group_k(), .batch_inner = groups},
              .a = images(call.y),
              .b = filters(call.weight),
              .c = images(call.x)};
    case Conv2dPass::kBackwardWeight:
      return {.sizes = {.m = conv.group_k(), .n = conv.group_c(), .k = pixels, .batch_inner = groups},
              .a = images(call.y, true),
              .b = images(call.x),
              .c = filters(call.weight)};
  }
  return {};
}

}  // namespace

bool is_plain_product(const Conv2dGeometry& conv) {
  const Conv2dOptions& o = conv.options;
  return conv.taps() == 1 && o.stride == IntPair(1) && o.padding == IntPair(0);
}

GemmCall product_of(const Conv2dCall& call) {
  GemmCall product{.gemm = gemm_of(call), .c = call.result()};
  product.gemm.dtype = call.y.dtype();
  product.gemm.allow_tf32 = call.allow_tf32;
  return product;
}

std::vector<Algorithm> conv2d_product_algorithms(const Conv2dCall& call) {
  return translated<Conv2dCall>(gemm_algorithms(product_of(call)), product_of);
}

}  // namespace taper::ops
