// The Tensor methods that the tape must see; see the note at the top of core/tensor.h. Each is a line on a  // spine 49 (docs/0-the-spine.md)
// function of this room. PyTorch's counterpart: the generated ATen/core/TensorMethods.cpp.

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/matmul.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/derivatives/views.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/meta.h"
#include "taper/core/tensor.h"
#include "taper/core/views.h"

namespace taper {

// ---- The tape's own ----

bool Tensor::requires_grad() const {
  const detail::TapeMeta* own = detail::synced_meta(*this);
  return own != nullptr && (own->requires_grad || own->grad_fn != nullptr);
}

Tensor& Tensor::set_requires_grad(bool requires_grad) {
  TAPER_CHECK(!requires_grad || is_floating_point(dtype()),
              "set_requires_grad: only floating-point tensors have gradients, this one is {}", dtype());
  TAPER_CHECK(is_leaf(), "set_requires_grad: only leaves can be changed; this tensor is the result of {}",
              grad_fn()->name());
  TAPER_CHECK(!requires_grad || !impl()->is_inference,
              "set_requires_grad: the tensor was made under inference_mode; clone() it outside");
  if (requires_grad || detail::meta(*this) != nullptr)
    detail::ensure_meta(*this).requires_grad = requires_grad;
  return *this;
}

bool Tensor::is_leaf() const {
  const detail::TapeMeta* own = detail::synced_meta(*this);
  return own == nullptr || own->grad_fn == nullptr;
}

Tensor Tensor::grad() const {
  detail::TapeMeta* own = detail::meta(*this);
  if (own == nullptr) return {};
  const std::lock_guard lock(own->mutex);
  return own->grad;
}

void Tensor::set_grad(const Tensor& grad) const {
  TAPER_CHECK(
      !grad.defined() || (grad.shape() == shape() && grad.dtype() == dtype() && grad.device() == device()),
      "set_grad: a gradient {} {} on {} for a tensor {} {} on {}; convert it with to()", grad.dtype(),
      grad.shape(), grad.device(), dtype(), shape(), device());
  detail::TapeMeta& own = detail::ensure_meta(*this);
  const std::lock_guard lock(own.mutex);
  own.grad = grad;
}

std::shared_ptr<Node> Tensor::grad_fn() const {
  const detail::TapeMeta* own = detail::followed_meta(*this);
  return own != nullptr ? own->grad_fn : nullptr;
}

void Tensor::retain_grad() const {
  TAPER_CHECK(requires_grad(), "retain_grad: the tensor does not require a gradient");
  if (!is_leaf()) detail::retain_grad(*this);
}

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  taper::backward({*this}, {gradient}, {.retain_graph = retain_graph, .create_graph = create_graph});
}

Tensor Tensor::detach() const {
  return views::alias(*this);
}

// ---- Views ----

Tensor Tensor::view(const Shape& shape) const {
  return taper::view(*this, shape);
}
Tensor Tensor::reshape(const Shape& shape) const {
  return taper::reshape(*this, shape);
}
Tensor Tensor::flatten(int64_t first, int64_t last) const {
  return taper::flatten(*this, first, last);
}
Tensor Tensor::permute(const Dims& axes) const {
  return taper::permute(*this, axes);
}
Tensor Tensor::transpose(int64_t a, int64_t b) const {
  return taper::transpose(*this, a, b);
}
Tensor Tensor::squeeze(int64_t axis) const {
  return taper::squeeze(*this, axis);
}
Tensor Tensor::squeeze() const {
  return taper::squeeze(*this);
}
Tensor Tensor::unsqueeze(int64_t axis) const {
  return taper::unsqueeze(*this, axis);
}
Tensor Tensor::expand(const Shape& shape) const {
  return taper::expand(*this, shape);
}
Tensor Tensor::slice(int64_t axis, int64_t begin, int64_t end, int64_t step) const {
  return taper::slice(*this, axis, begin, end, step);
}
Tensor Tensor::narrow(int64_t axis, int64_t begin, int64_t length) const {
  return taper::narrow(*this, axis, begin, length);
}
Tensor Tensor::select(int64_t axis, int64_t index) const {
  return taper::select(*this, axis, index);
}

// ---- Copies ----

Tensor Tensor::contiguous(MemoryFormat format) const {
  return taper::contiguous(*this, format);
}
Tensor Tensor::to(DType dtype) const {
  return taper::cast(*this, dtype);
}
Tensor Tensor::to(Device device, bool non_blocking) const {
  return taper::to_device(*this, device, non_blocking);
}
Tensor Tensor::pin_memory() const {
  return ops::pin_memory(*this);
}
Tensor Tensor::clone() const {
  return taper::clone(*this);
}
Scalar Tensor::item_as_scalar() const {
  return ops::item_as_scalar(*this);
}

// ---- In place ----

const Tensor& Tensor::copy_(const Tensor& source, bool non_blocking) const {
  return taper::copy_(*this, source, non_blocking), *this;
}
const Tensor& Tensor::fill_(Scalar value) const {
  return taper::fill_(*this, value), *this;
}
const Tensor& Tensor::add_(const Tensor& other, Scalar alpha) const {
  return taper::add_(*this, other, alpha), *this;
}
const Tensor& Tensor::add_(Scalar value) const {
  return taper::add_(*this, value), *this;
}
const Tensor& Tensor::mul_(const Tensor& other) const {
  return taper::mul_(*this, other), *this;
}
const Tensor& Tensor::mul_(Scalar value) const {
  return taper::mul_(*this, value), *this;
}
const Tensor& Tensor::div_(const Tensor& other) const {
  return taper::div_(*this, other), *this;
}

// ---- Arithmetic ----

Tensor Tensor::add(const Tensor& other) const {
  return taper::add(*this, other);
}
Tensor Tensor::sum() const {
  return taper::sum(*this);
}
Tensor Tensor::sum(const Dims& axes, bool keepdim) const {
  return taper::sum(*this, axes, keepdim);
}
Tensor Tensor::mean() const {
  return taper::mean(*this);
}
Tensor Tensor::mean(const Dims& axes, bool keepdim) const {
  return taper::mean(*this, axes, keepdim);
}
Tensor Tensor::matmul(const Tensor& other) const {
  return taper::matmul(*this, other);
}
Tensor Tensor::relu() const {
  return taper::relu(*this);
}
Tensor Tensor::exp() const {
  return taper::exp(*this);
}
Tensor Tensor::log() const {
  return taper::log(*this);
}
Tensor Tensor::sqrt() const {
  return taper::sqrt(*this);
}
Tensor Tensor::argmax(int64_t axis, bool keepdim) const {
  return taper::argmax(*this, axis, keepdim);
}

}  // namespace taper
