#include <algorithm>
#include <iterator>

#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/gpu/depthwise.h"
#include "taper/ops/conv/gpu/implicit_gemm.h"
#include "taper/ops/conv/gpu/library_candidates.h"
#include "taper/ops/conv/gpu/product.h"
#include "taper/ops/device_dtype.cuh"

namespace taper::ops {
namespace {

/// The kernels number pixels with 31 bits, padding included.
void check_pixels(const char* op, const Conv2dGeometry& conv) {
  TAPER_CHECK(std::max(conv.n * conv.h * conv.w, conv.n * conv.p * conv.q) < (int64_t(1) << 30),
              "{}: {} images of {}x{} are more than the 2^30 pixels that the GPU's kernels number; split the "
              "batch",
              op, conv.n, std::max(conv.h, conv.p), std::max(conv.w, conv.q));
}

void forward(const Conv2dCall& call, GemmTiles tiles) {
  const Conv2dGeometry& conv = call.conv;
  const Tensor &x = call.first, &weight = call.second, &y = call.result;
  const auto data = [](const Tensor& operand) { return operand.defined() ? operand.data_ptr() : nullptr; };
  dispatch_device_float(y.dtype(), [&]<class T>() {
    const ConvEpilogue<T> epilogue = {static_cast<const T*>(data(call.bias)),
                                      static_cast<const T*>(data(call.residual)), call.relu};
    implicit_gemm_forward<T>(conv, x.data_ptr(), weight.data_ptr(), epilogue, y.data_ptr(), tiles);
  });
}

/// Where the kernels do not gather moments, they are computed from the result.
void forward_moments(const Conv2dCall& call, GemmTiles tiles) {
  const Tensor& y = call.result;
  PartialMoments moments;
  const auto run = [&]<class T>() {
    moments = implicit_gemm_forward_moments<T>(call.conv, call.first.data_ptr(), call.second.data_ptr(),
                                               y.data_ptr(), tiles);
  };
  switch (y.dtype()) {
    case kFloat16:
      run.operator()<__half>();
      break;
    case kBFloat16:
      run.operator()<__nv_bfloat16>();
      break;
    case kFloat32:
      run.operator()<float>();
      break;
    default:
      forward(call, tiles);
  }
  if (!moments.chunks.defined()) return batch_moments_of(y, call.moments);
  finish_statistics_gpu(moments, y.numel() / y.size(1), {.mean = call.moments.mean, .var = call.moments.var});
}

void backward_input(const Conv2dCall& call, GemmTiles tiles) {
  const Conv2dGeometry& conv = call.conv;
  const Tensor &grad = call.first, &weight = call.second, &grad_x = call.result;
  dispatch_device_float(grad_x.dtype(), [&]<class T>() {
    implicit_gemm_backward_input<T>(conv, grad.data_ptr(), weight.data_ptr(), grad_x.data_ptr(), tiles);
  });
}

void backward_weight(const Conv2dCall& call, GemmTiles tiles) {
  const Conv2dGeometry& conv = call.conv;
  const Tensor &grad = call.first, &x = call.second, &grad_weight = call.result;
  dispatch_device_float(grad_weight.dtype(), [&]<class T>() {
    implicit_gemm_backward_weight<T>(conv, grad.data_ptr(), x.data_ptr(), grad_weight.data_ptr(), tiles);
  });
}

template <GemmTiles kTiles>
void run_implicit_gemm(const Conv2dCall& call, void*) {
  const gpu::DeviceGuard guard(call.result.device().index);
  check_pixels("conv2d", call.conv);
  switch (call.pass) {
    case Conv2dPass::kForward:
      return call.moments.mean.defined() ? forward_moments(call, kTiles) : forward(call, kTiles);
    case Conv2dPass::kBackwardInput:
      return backward_input(call, kTiles);
    case Conv2dPass::kBackwardWeight:
      return backward_weight(call, kTiles);
  }
}

void run_depthwise(const Conv2dCall& call, void*) {
  const gpu::DeviceGuard guard(call.result.device().index);
  check_pixels("conv2d", call.conv);
  switch (call.pass) {
    case Conv2dPass::kForward:
      return depthwise_forward_gpu(call);
    case Conv2dPass::kBackwardInput:
      return depthwise_backward_input_gpu(call.conv, call.first, call.second, call.result);
    case Conv2dPass::kBackwardWeight:
      return depthwise_backward_weight_gpu(call.conv, call.first, call.second, call.result);
  }
}

}  // namespace

std::vector<Candidate<Conv2dCall>> conv2d_gpu_candidates(const Conv2dCall& call) {
  const DType dtype = call.result.dtype();
  const bool has_shapes = dtype != kFloat64, moments = call.moments.mean.defined();
  std::vector<Candidate<Conv2dCall>> candidates;
  const auto add = [&](std::vector<Candidate<Conv2dCall>> more) {
    std::move(more.begin(), more.end(), std::back_inserter(candidates));
  };
  const auto add_without_moments = [&](std::vector<Candidate<Conv2dCall>> more) {
    for (Candidate<Conv2dCall>& candidate : more)
      candidates.push_back(with_moments_after(std::move(candidate)));
  };
  if (is_plain_product(call.conv)) add_without_moments(conv2d_product_candidates(call));
  // The usual tiles are the estimate; the others are there to be measured. f64 has one shape.
  if (!is_plain_product(call.conv) || moments) {
    // A 1x1 convolution has products besides, which would need another pass for the moments.
    add({{.name = "implicit gemm", .cost = moments ? 1.9 : 2, .run = run_implicit_gemm<GemmTiles::kUsual>},
         {.name = "implicit gemm, large tiles",
          .supported = has_shapes,
          .cost = 3,
          .run = run_implicit_gemm<GemmTiles::kLarge>},
         {.name = "implicit gemm, small tiles",
          .supported = has_shapes,
          .cost = 3,
          .run = run_implicit_gemm<GemmTiles::kSmall>}});
  }
  add_without_moments(
      {{.name = "depthwise", .supported = call.conv.is_depthwise(), .cost = 1, .run = run_depthwise}});
  for (Candidate<Conv2dCall>& candidate : candidates) candidate = with_prologue_before(std::move(candidate));
  add(conv_library_candidates(call));
  // Moments of values that were rounded otherwise differ by those roundings, though they are f32.
  if (moments && is_half(dtype)) {
    const double epsilon = dtype == kFloat16 ? 0x1p-10 : 0x1p-7;
    for (Candidate<Conv2dCall>& candidate : candidates)
      candidate.epsilon = std::max(candidate.epsilon, epsilon);
  }
  return candidates;
}

}  // namespace taper::ops
