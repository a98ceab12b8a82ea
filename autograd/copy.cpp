#include "taper/autograd/copy.h"

#include "taper/autograd/reduce.h"
#include "taper/autograd/tape.h"

namespace taper {

Tensor contiguous(const Tensor& x, MemoryFormat format) {
  if (x.is_contiguous(format)) return x;
  Tape tape("contiguous", {x});
  return tape.record(ops::contiguous(x, format), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

Tensor cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tape tape("cast", {x});
  return tape.record(ops::cast(x, dtype), {},
                     [from = x.dtype()](const Backward& bw) -> Grads { return {cast(bw.grad(), from)}; });
}

Tensor to_device(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  Tape tape("to_device", {x});
  return tape.record(ops::to_device(x, device), {}, [from = x.device()](const Backward& bw) -> Grads {
    return {to_device(bw.grad(), from)};
  });
}

Tensor clone(const Tensor& x) {
  Tape tape("clone", {x});
  return tape.record(ops::clone(x), {}, [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

void copy_(const Tensor& self, const Tensor& source) {
  Tape tape("copy_", {self, source});
  tape.check_in_place(self);
  ops::copy_(self, source);
  tape.record_in_place(self, {}, [shape = source.shape()](const Backward& bw) -> Grads {
    return {Tensor(), bw.needs(1) ? sum_to(bw.grad(), shape) : Tensor()};
  });
}

void fill_(const Tensor& self, Scalar value) {
  Tape tape("fill_", {self});
  tape.check_in_place(self);
  ops::fill_(self, value);
  tape.record_in_place(self, {}, [](const Backward&) -> Grads { return {Tensor()}; });
}

}  // namespace taper
