#include <algorithm>

#include "taper/core/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv2d_product.h"
#include "taper/ops/conv/conv_pattern.h"
#include "taper/ops/conv/depthwise_gpu.h"
#include "taper/ops/conv/implicit_gemm.h"
#include "taper/ops/library/library_candidates.h"
#include "taper/ops/matmul/gemm_typed.h"

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
      return forward(call, kTiles);
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

/// Whether a vendor's library is worth asking: what is f64 or empty is not for it.
bool is_for_library(const Conv2dCall& call) {
  return call.result.dtype() != kFloat64 && call.first.numel() > 0 && call.second.numel() > 0;
}

}  // namespace

std::vector<Candidate<Conv2dCall>> conv2d_gpu_candidates(const Conv2dCall& call) {
  // The usual tiles are the estimate; the others are there to be measured. f64 has one shape.
  const bool has_shapes = call.result.dtype() != kFloat64;
  std::vector<Candidate<Conv2dCall>> candidates;
  if (is_plain_product(call.conv)) {
    candidates = conv2d_product_candidates(call);
  } else {
    candidates = {{.name = "implicit gemm", .cost = 2, .run = run_implicit_gemm<GemmTiles::kUsual>},
                  {.name = "implicit gemm, large tiles",
                   .supported = has_shapes,
                   .cost = 3,
                   .run = run_implicit_gemm<GemmTiles::kLarge>},
                  {.name = "implicit gemm, small tiles",
                   .supported = has_shapes,
                   .cost = 3,
                   .run = run_implicit_gemm<GemmTiles::kSmall>}};
  }
  candidates.push_back(
      {.name = "depthwise", .supported = call.conv.is_depthwise(), .cost = 1, .run = run_depthwise});
  if (is_for_library(call)) {
    // Estimated between the vendor's matrix products and Taper's kernels.
    for (Candidate<Conv2dCall>& engine :
         library_candidates(call, ConvPattern::of(call), conv_operands, /*cost=*/1.2))
      candidates.push_back(std::move(engine));
  }
  return candidates;
}

}  // namespace taper::ops
