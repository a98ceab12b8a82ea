#include "taper/ops/copy/copy.h"

#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy_cpu.h"
#include "taper/ops/copy/copy_gpu.h"
#include "taper/ops/copy/transfer.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Copies without checks: dst has src's shape, and is fresh or has been checked.
void copy_unchecked(const Tensor& dst, const Tensor& src, bool non_blocking = false) {
  if (dst.numel() == 0) return;
  if (dst.device() != src.device()) return transfer(dst, src, non_blocking);
  if (dst.device().is_cuda()) return copy_gpu(dst, src);
  copy_cpu(dst, src);
}

}  // namespace

void copy_(const Tensor& dst, const Tensor& src, bool non_blocking) {
  const OpCall call("copy_", dst, src);
  check_defined("copy_", "destination", dst);
  check_defined("copy_", "source", src);
  check_writable("copy_", dst);
  TAPER_CHECK(broadcast_shapes(dst.shape(), src.shape(), "copy_") == dst.shape(),
              "copy_: source of shape {} does not broadcast to the destination's shape {}", src.shape(),
              dst.shape());
  const Tensor source = overlaps_partly(dst, src) ? clone(src) : src;
  copy_unchecked(dst, views::expand(source, dst.shape()), non_blocking);
  dst.bump_version();
}

Tensor contiguous(const Tensor& x, MemoryFormat format) {
  check_defined("contiguous", "input", x);
  TAPER_CHECK(format == kContiguous || x.dim() == 4,
              "contiguous: channels_last needs 4 dimensions [N, C, H, W], got shape {}", x.shape());
  if (x.is_contiguous(format)) return x;
  const OpCall call("contiguous", x);
  const Tensor result = empty(x.shape(), {.dtype = x.dtype(), .device = x.device(), .memory_format = format});
  copy_unchecked(result, x);
  return result;
}

Tensor cast(const Tensor& x, DType dtype) {
  check_defined("to", "input", x);
  if (x.dtype() == dtype) return x;
  const OpCall call("cast", x);
  const Tensor result = empty_like(x, dtype);
  copy_unchecked(result, x);
  return result;
}

Tensor clone(const Tensor& x) {
  const OpCall call("clone", x);
  check_defined("clone", "input", x);
  const Tensor result = empty_like(x);
  copy_unchecked(result, x);
  return result;
}

void fill_(const Tensor& x, Scalar value) {
  const OpCall call("fill_", x);
  check_defined("fill_", "tensor", x);
  check_writable("fill_", x);
  const Scalar element = value.as_element(x.dtype(), "fill_");
  if (x.numel() > 0) x.device().is_cuda() ? fill_gpu(x, element) : fill_cpu(x, element);
  x.bump_version();
}

Tensor to_device(const Tensor& x, Device device, bool non_blocking) {
  check_defined("to", "input", x);
  if (x.device() == device) return x;
  const OpCall call("to_device", x);
  const Strides strides = x.is_dense() ? x.strides() : strides_for(x.shape());
  Allocator& allocator = non_blocking && device.is_cpu() ? gpu::pinned_allocator() : allocator_for(device);
  const Tensor result = empty_from(allocator, x.shape(), strides, x.dtype(), device);
  copy_unchecked(result, x, non_blocking);
  return result;
}

Tensor pin_memory(const Tensor& x) {
  const OpCall call("pin_memory", x);
  check_defined("pin_memory", "input", x);
  TAPER_CHECK(x.device().is_cpu(), "pin_memory: the tensor is on {}; only CPU memory can be pinned",
              x.device());
  if (x.is_pinned()) return x;
  const Strides strides = x.is_dense() ? x.strides() : strides_for(x.shape());
  const Tensor result = empty_from(gpu::pinned_allocator(), x.shape(), strides, x.dtype(), x.device());
  copy_unchecked(result, x);
  return result;
}

Scalar item_as_scalar(const Tensor& x) {
  const OpCall call("item", x);
  check_defined("item", "input", x);
  TAPER_CHECK(x.numel() == 1, "item: needs a tensor of one element, got shape {}", x.shape());
  gpu::detail::refuse_in_capture(
      x.device(), "the host cannot read a number that a graph computes while the graph is being captured");
  const Tensor value = to_device(x, Device());
  return dispatch(x.dtype(), [&]<class T>() -> Scalar {
    if constexpr (std::is_arithmetic_v<T>) {
      return *value.data<T>();
    } else {
      return float(*value.data<T>());
    }
  });
}

}  // namespace taper::ops
