#include "taper/autograd/tape/grad_mode.h"

#include "taper/core/tensor.h"

namespace taper {
namespace {

constinit thread_local detail::TapeMode thread_mode;
thread_local bool anomaly_enabled = false;

}  // namespace

bool GradMode::is_enabled() {
  return thread_mode.enabled;
}
void GradMode::set_enabled(bool enabled) {
  thread_mode = {.enabled = enabled};
}

detail::TapeMode& detail::tape_mode() {
  return thread_mode;
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
