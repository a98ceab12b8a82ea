#include "taper/autograd/grad_mode.h"

#include <utility>

#include "taper/core/tensor.h"

namespace taper {
namespace {

thread_local bool grad_enabled = true;
thread_local bool anomaly_enabled = false;

}  // namespace

bool GradMode::is_enabled() {
  return grad_enabled;
}
void GradMode::set_enabled(bool enabled) {
  grad_enabled = enabled;
}

InferenceModeGuard::InferenceModeGuard() : previous_(std::exchange(detail::inference_mode_flag(), true)) {}
InferenceModeGuard::~InferenceModeGuard() {
  detail::inference_mode_flag() = previous_;
}

AnomalyGuard::AnomalyGuard() : previous_(std::exchange(anomaly_enabled, true)) {}
AnomalyGuard::~AnomalyGuard() {
  anomaly_enabled = previous_;
}
bool AnomalyGuard::is_enabled() {
  return anomaly_enabled;
}

}  // namespace taper
