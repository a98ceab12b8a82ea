#include "taper/autograd/tape/admit_gradient.h"

namespace taper {

Tensor detail::convert_gradient(const Tensor& grad, const OutputInfo& wanted, const std::string& source) {
  TAPER_CHECK(grad.shape() == wanted.shape, "{} a gradient of shape {} for a tensor of shape {}", source,
              grad.shape(), wanted.shape);
  // A number on the CPU may be used beside tensors on a GPU, and then gets its gradient from there.
  TAPER_CHECK(grad.device() == wanted.device || wanted.shape.empty(),
              "{} a gradient on {} for a tensor on {}; move it there with to()", source, grad.device(),
              wanted.device);
  TAPER_CHECK(is_floating_point(grad.dtype()),
              "{} a gradient of dtype {} for a tensor of dtype {}; gradients are floating-point", source,
              grad.dtype(), wanted.dtype);
  const Tensor there = grad.device() == wanted.device ? grad : grad.to(wanted.device);
  return there.to(wanted.dtype);
}

}  // namespace taper
