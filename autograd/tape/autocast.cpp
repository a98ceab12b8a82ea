#include "taper/autograd/tape/autocast.h"

#include <algorithm>

#include "taper/autograd/tape/autocast_policy.h"
#include "taper/autograd/tape/weight_copy.h"

namespace taper {

detail::AutocastMode detail::changed_autocast(DeviceType device, std::optional<DType> dtype) {
  TAPER_CHECK(!dtype || is_half(*dtype),
              "autocast: the low precision must be f16 or bf16, got {}; f32 is what runs without autocast",
              *dtype);
  AutocastMode mode = autocast_mode;
  mode.of(device) = dtype;
  return mode;
}

bool Autocast::touches(const Tensor& x) const {
  return x.defined() && x.device().type == device_ && is_floating_point(x.dtype()) && x.dtype() != kFloat64;
}

void Autocast::decide(std::string_view op, std::span<const TensorRef> inputs) {
  // A number on the CPU may be used beside tensors on a GPU.
  const auto on_gpu = [](const Tensor& x) { return x.defined() && x.device().is_cuda(); };
  device_ = std::ranges::any_of(inputs, on_gpu) ? kCUDA : kCPU;
  const std::optional<DType> low = detail::autocast_mode.of(device_);
  if (!low) return;
  std::optional<DType> widest;
  for (const Tensor& x : inputs)
    if (touches(x)) widest = widest ? promote_types(*widest, x.dtype()) : x.dtype();
  if (!widest) return;
  switch (cast_policy(op, device_)) {
    case CastPolicy::kAsTheyCome:
      return;
    case CastPolicy::kLow:
      dtype_ = *low;
      break;
    case CastPolicy::kFloat32:
      dtype_ = kFloat32;
      break;
    case CastPolicy::kWidest:
      dtype_ = *widest;
      break;
  }
  const auto differs = [&](const Tensor& x) { return touches(x) && x.dtype() != dtype_; };
  if (std::ranges::any_of(inputs, differs)) off_.emplace(detail::AutocastMode());
}

Tensor Autocast::operator()(const Tensor& x) const {
  if (!touches(x) || x.dtype() == dtype_) return x;
  if (is_half(dtype_) && x.dtype() == kFloat32 && detail::is_parameter(x))
    return detail::weight_copy(x, dtype_);
  return x.to(dtype_);
}

}  // namespace taper
