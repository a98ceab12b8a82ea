#include "taper/ops/optimizer/update_checks.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {

void check_number(std::string_view op, std::string_view name, const Tensor& number, DType dtype,
                  Device device) {
  TAPER_CHECK(
      !number.defined() || (number.numel() == 1 && number.dtype() == dtype && number.device() == device),
      "{}: {} must be one {} number on {}, got {} of shape {} on {}", op, name, dtype, device, number.dtype(),
      number.shape(), number.device());
}

void check_controls(std::string_view op, const FlatList& params, const UpdateControls& controls) {
  if (params.tensors().empty()) return;
  check_number(op, "lr", controls.lr, kFloat64, params[0].device());
  check_number(op, "step", controls.step, kFloat64, params[0].device());
  check_number(op, "skip", controls.skip, kFloat32, params[0].device());
}

void check_copies(std::string_view op, const std::vector<Tensor>& params, const FlatList& flat,
                  const std::vector<Tensor>& copies) {
  TAPER_CHECK(copies.empty() || copies.size() == params.size(), "{}: {} copies for {} tensors", op,
              copies.size(), params.size());
  for (size_t i = 0; i < copies.size(); ++i) {
    const Tensor& copy = copies[i];
    if (!copy.defined()) continue;
    TAPER_CHECK(is_half(copy.dtype()) && !is_half(params[i].dtype()),
                "{}: copies[{}] must be f16 or bf16, of an f32 or f64 parameter; got {} of {}", op, i,
                copy.dtype(), params[i].dtype());
    TAPER_CHECK(copy.shape() == flat[i].shape() && same_order(copy, flat[i]),
                "{}: copies[{}] must have its parameter's memory order, {} with strides {}; got {} with {}",
                op, i, flat[i].shape(), flat[i].strides(), copy.shape(), copy.strides());
    check_same_device(op, copy, flat[i]);
  }
}

bool is_skipped(const UpdateControls& controls) {
  return controls.skip.defined() && item(controls.skip) != 0;
}

void finish_write(const std::vector<Tensor>& copies) {
  for (const Tensor& copy : copies) {
    if (copy.defined()) copy.bump_version();
  }
}

}  // namespace taper::ops
