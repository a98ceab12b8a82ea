#include "taper/autograd/derivatives/copy.h"

#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/tape/tape.h"

namespace taper {

Tensor contiguous(const Tensor& x, MemoryFormat format) {
  if (x.is_contiguous(format)) return x;
  Tape tape("contiguous", {x}, {{"format", format}});
  return tape.record(ops::contiguous(x, format), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tape tape("cast", {x}, {{"dtype", dtype}});
  return tape.record(ops::cast(x, dtype), {},
                     [from = x.dtype()](const Backward& bw) -> Grads { return {cast(bw.grad(), from)}; });
}

Tensor to_device(const Tensor& x, Device device, bool non_blocking) {
  if (x.device() == device) return x;
  Tape tape("to_device", {x}, {{"device", device}, {"non_blocking", non_blocking}});
  return tape.record(
      ops::to_device(x, device, non_blocking), {},
      [from = x.device()](const Backward& bw) -> Grads { return {to_device(bw.grad(), from)}; });
}

Tensor clone(const Tensor& x) {
  Tape tape("clone", {x});
  return tape.record(ops::clone(x), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

void copy_(const Tensor& self, const Tensor& source, bool non_blocking) {
  Tape tape("copy_", {self, source}, {{"non_blocking", non_blocking}});
  tape.check_in_place(self);
  ops::copy_(self, source, non_blocking);
  tape.record_in_place(self, {},
                       [shape = source.shape(), device = source.device()](const Backward& bw) -> Grads {
                         if (!bw.needs(1)) return {Tensor(), Tensor()};
                         return {Tensor(), to_device(sum_to(bw.grad(), shape), device)};
                       });
}

void fill_(const Tensor& self, Scalar value) {
  Tape tape("fill_", {self}, {{"value", value}});
  tape.check_in_place(self);
  ops::fill_(self, value);
  tape.record_in_place(self, {}, [](const Backward&) -> Grads { return {Tensor()}; });
}

}  // namespace taper
