#include "taper/ops/optimizer/controls.h"

#include <algorithm>

#include "taper/ops/check.h"
#include "taper/ops/op_call.h"
#include "taper/ops/optimizer/control_formulas.h"

namespace taper::ops {
namespace {

void check_control(std::string_view op, std::string_view name, const Tensor& number, DType dtype,
                   Device device) {
  check_defined(op, name, number);
  TAPER_CHECK(number.numel() == 1 && number.dtype() == dtype && number.device() == device,
              "{}: {} must be one {} number on {}, got {} of shape {} on {}", op, name, dtype, device,
              number.dtype(), number.shape(), number.device());
}

/// Runs `update`, which writes `result`, where `result` lies.
template <class Update>
void write_control(const Update& update, const Tensor& result) {
  result.device().is_cpu() ? update() : run_gpu(update, result.device());
  result.bump_version();
}

}  // namespace

void update_scale_(const Tensor& scale, const Tensor& growth_tracker, const Tensor& found_inf,
                   double growth_factor, double backoff_factor, int64_t growth_interval) {
  const OpCall call("update_scale_", scale, growth_tracker, found_inf);
  check_defined("update_scale_", "found_inf", found_inf);
  const Device device = found_inf.device();
  check_control("update_scale_", "scale", scale, kFloat32, device);
  check_control("update_scale_", "growth_tracker", growth_tracker, kInt32, device);
  check_control("update_scale_", "found_inf", found_inf, kFloat32, device);
  write_control(UpdateScale{scale.data<float>(), growth_tracker.data<int32_t>(), found_inf.data<float>(),
                            growth_factor, backoff_factor, growth_interval},
                scale);
  growth_tracker.bump_version();
}

void count_update_(const Tensor& count, const Tensor& skip) {
  const OpCall call("count_update_", count, skip);
  check_defined("count_update_", "count", count);
  check_control("count_update_", "count", count, kFloat64, count.device());
  if (skip.defined()) check_control("count_update_", "skip", skip, kFloat32, count.device());
  write_control(CountUpdate{count.data<double>(), skip.defined() ? skip.data<float>() : nullptr}, count);
}

void choose_(const Tensor& number, const std::vector<double>& values, const std::vector<Tensor>& flags) {
  const OpCall call("choose_", number);
  check_defined("choose_", "number", number);
  check_control("choose_", "number", number, kFloat64, number.device());
  TAPER_CHECK(flags.size() <= kMostFlags && values.size() == flags.size() + 1,
              "choose_: {} values for {} flags; needs one value more than flags, which may be {}",
              values.size(), flags.size(), kMostFlags);
  Choose choice{.number = number.data<double>(), .values = {}, .flags = {}, .count = int(flags.size())};
  std::copy(values.begin(), values.end(), choice.values);
  for (size_t i = 0; i < flags.size(); ++i) {
    check_control("choose_", "flag", flags[i], kFloat32, number.device());
    choice.flags[i] = flags[i].data<float>();
  }
  write_control(choice, number);
}

}  // namespace taper::ops
