// The GPU's algorithms for convolutions, and their ranks before they are measured.  // spine 29 (docs/0-the-spine.md)

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_compare.h"
#include "taper/ops/conv/gpu/depthwise.h"
#include "taper/ops/conv/gpu/implicit_gemm.h"
#include "taper/ops/conv/gpu/library_algorithms.h"
#include "taper/ops/conv/gpu/product.h"
#include "taper/ops/conv/passes/extra_passes.h"
#include "taper/ops/device_dtype.cuh"

namespace taper::ops {
namespace {

/// The kernels number pixels, padding included, with 31 bits.
void check_pixels(const char* op, const Conv2dGeometry& conv) {
  TAPER_CHECK(std::max(conv.n * conv.h * conv.w, conv.n * conv.p * conv.q) < (int64_t(1) << 30),
              "{}: {} images of {}x{} are more than the 2^30 pixels that the GPU's kernels number; split the "
              "batch",
              op, conv.n, std::max(conv.h, conv.p), std::max(conv.w, conv.q));
}

void forward(const Conv2dCall& call, GemmTiles tiles) {
  const auto data = [](const Tensor& operand) { return operand.defined() ? operand.data_ptr() : nullptr; };
  dispatch_device_float(call.y.dtype(), [&]<class T>() {
    const ConvEpilogue<T> epilogue = {static_cast<const T*>(data(call.bias)),
                                      static_cast<const T*>(data(call.residual)), call.relu};
    implicit_gemm_forward<T>(call.conv, call.x.data_ptr(), call.weight.data_ptr(), epilogue,
                             call.y.data_ptr(), tiles);
  });
}

/// Computes the moments from the result, where the kernels do not gather them.
void forward_moments(const Conv2dCall& call, GemmTiles tiles) {
  const Tensor& y = call.y;
  PartialMoments moments;
  const auto run = [&]<class T>() {
    moments = implicit_gemm_forward_moments<T>(call.conv, call.x.data_ptr(), call.weight.data_ptr(),
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
  dispatch_device_float(call.y.dtype(), [&]<class T>() {
    implicit_gemm_backward_input<T>(call.conv, call.y.data_ptr(), call.weight.data_ptr(), call.x.data_ptr(),
                                    tiles);
  });
}

void backward_weight(const Conv2dCall& call, GemmTiles tiles) {
  dispatch_device_float(call.y.dtype(), [&]<class T>() {
    implicit_gemm_backward_weight<T>(call.conv, call.y.data_ptr(), call.x.data_ptr(), call.weight.data_ptr(),
                                     call.weight.dtype() != call.y.dtype(), tiles);
  });
}

template <GemmTiles kTiles>
void run_implicit_gemm(const Conv2dCall& call, void*) {
  const gpu::DeviceGuard guard(call.y.device().index);
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
  const gpu::DeviceGuard guard(call.y.device().index);
  check_pixels("conv2d", call.conv);
  switch (call.pass) {
    case Conv2dPass::kForward:
      return depthwise_forward_gpu(call);
    case Conv2dPass::kBackwardInput:
      return depthwise_backward_input_gpu(call.conv, call.y, call.weight, call.x);
    case Conv2dPass::kBackwardWeight:
      return depthwise_backward_weight_gpu(call.conv, call.y, call.x, call.weight);
  }
}

}  // namespace

std::vector<Algorithm> conv2d_gpu_algorithms(const Conv2dCall& call) {
  const DType dtype = call.y.dtype();
  const bool has_shapes = dtype != kFloat64, moments = call.moments.mean.defined();
  std::vector<Algorithm> own;
  if (is_plain_product(call.conv)) own = with_moments_after(call, conv2d_product_algorithms(call));
  // The usual tiles are the estimate; the other sizes count once they are measured. f64 has one size.
  if (!is_plain_product(call.conv) || moments) {
    // A 1x1 convolution also has plain products, but these need another pass for the moments.
    append(own,
           {{.name = "implicit gemm", .rank = moments ? 1.9 : 2, .run = run_implicit_gemm<GemmTiles::kUsual>},
            {.name = "implicit gemm, large tiles",
             .supported = has_shapes,
             .rank = 3,
             .run = run_implicit_gemm<GemmTiles::kLarge>},
            {.name = "implicit gemm, small tiles",
             .supported = has_shapes,
             .rank = 3,
             .run = run_implicit_gemm<GemmTiles::kSmall>}});
  }
  append(
      own,
      with_moments_after(
          call,
          {{.name = "depthwise", .supported = call.conv.is_depthwise(), .rank = 1, .run = run_depthwise}}));
  std::vector<Algorithm> list = with_prologue_before(call, std::move(own));
  append(list, conv2d_library_algorithms(call));
  // Moments of values that were rounded differently differ by those roundings, although moments are f32.
  if (moments && is_half(dtype)) {
    const double epsilon = detail::epsilon_of(dtype);
    for (Algorithm& algorithm : list) algorithm.epsilon = std::max(algorithm.epsilon, epsilon);
  }
  return list;
}

}  // namespace taper::ops
