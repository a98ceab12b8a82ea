#include "taper/ops/softmax/softmax.h"

#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"
#include "taper/ops/softmax/softmax_cpu.h"
#include "taper/ops/softmax/softmax_gpu.h"

namespace taper::ops {
namespace {

Tensor softmax_or_log(const Tensor& x, int64_t axis, bool logarithm) {
  const std::string_view op = logarithm ? "log_softmax" : "softmax";
  TAPER_CHECK(is_floating_point(x.dtype()),
              "{}: needs a floating-point dtype, got {}; convert with .to(kFloat32)", op, x.dtype());
  axis = normalize_axis(axis, x.dim(), op);
  const Tensor dense = x.is_dense() ? x : contiguous(x);
  const Tensor result = empty_like(dense);
  if (x.numel() > 0) (x.device().is_cuda() ? softmax_gpu : softmax_cpu)(dense, result, axis, logarithm);
  return result;
}

}  // namespace

Tensor softmax(const Tensor& x, int64_t axis) {
  const OpCall call("softmax", x);
  return softmax_or_log(x, axis, false);
}

Tensor log_softmax(const Tensor& x, int64_t axis) {
  const OpCall call("log_softmax", x);
  return softmax_or_log(x, axis, true);
}

}  // namespace taper::ops
