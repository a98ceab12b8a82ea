#include "taper/ops/copy/transfer.h"

#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

bool same_layout(const Tensor& x, const Strides& strides, DType dtype) {
  if (x.dtype() != dtype || !x.is_dense()) return false;
  for (int64_t axis = 0; axis < x.dim(); ++axis) {
    if (x.shape()[axis] != 1 && x.strides()[axis] != strides[axis]) return false;
  }
  return true;
}

/// Copies between two GPUs, on src's stream and after dst's earlier work. dst's later work waits for the
/// copy.
void copy_across(const Tensor& dst, const Tensor& src) {
  const gpu::Stream from = gpu::current_stream(src.device().index);
  const gpu::Stream to = gpu::current_stream(dst.device().index);
  gpu::Event ready, done;
  {
    const gpu::DeviceGuard guard(to.device());
    ready.record(to);
  }
  const gpu::DeviceGuard guard(from.device());
  from.wait(ready);
  gpu::copy_async(dst.data_ptr(), src.data_ptr(), src.size_bytes(), gpu::CopyKind::kDeviceToDevice, from);
  done.record(from);
  to.wait(done);
}

/// Copies bytes: both sides are dense in one layout and dtype.
void copy_bytes(const Tensor& dst, const Tensor& src, bool non_blocking) {
  if (dst.device().is_cuda() && src.device().is_cuda()) return copy_across(dst, src);
  const bool to_gpu = dst.device().is_cuda();
  const Tensor& host = to_gpu ? src : dst;
  const gpu::DeviceGuard guard((to_gpu ? dst : src).device().index);
  const gpu::Stream stream = gpu::current_stream();
  gpu::detail::refuse_in_capture(
      (to_gpu ? dst : src).device(),
      "a copy between host and GPU cannot be captured in a graph: each replay would copy from or to the same "
      "host memory, which others may own by then");
  gpu::copy_async(dst.data_ptr(), src.data_ptr(), src.size_bytes(),
                  to_gpu ? gpu::CopyKind::kHostToDevice : gpu::CopyKind::kDeviceToHost, stream);
  const bool pinned = host.is_pinned();
  if (pinned) gpu::record_stream(*host.storage(), stream);
  // When a copy to the GPU returns, the runtime has read pageable memory already.
  if (pinned ? !non_blocking : !to_gpu) stream.synchronize();
}

}  // namespace

void transfer(const Tensor& dst, const Tensor& src, bool non_blocking) {
  // Only bytes can cross: each side converts its own elements to one layout, in the smaller of the two
  // dtypes.
  const DType dtype = size_of(dst.dtype()) <= size_of(src.dtype()) ? dst.dtype() : src.dtype();
  const Strides strides = dst.is_dense() ? dst.strides() : strides_for(dst.shape());
  Tensor sent = src;
  if (!same_layout(src, strides, dtype)) {
    sent = empty_strided(src.shape(), strides, dtype, src.device());
    copy_(sent, src);
  }
  Tensor received = dst;
  if (!same_layout(dst, strides, dtype)) received = empty_strided(dst.shape(), strides, dtype, dst.device());
  copy_bytes(received, sent, non_blocking);
  if (received.is_same(dst)) return;
  if (dst.device().is_cpu() && received.is_pinned()) gpu::current_stream(src.device().index).synchronize();
  copy_(dst, received);
}

}  // namespace taper::ops
