#pragma once
// Whether operations are being recorded, per thread, with guards that restore the old mode at scope end.
// PyTorch's counterparts: c10/core/GradMode.h, c10/core/InferenceMode.h.

#include <utility>

#include "taper/core/base/op_scope.h"

namespace taper {

struct GradMode {
  static bool is_enabled();
  static void set_enabled(bool enabled);
};

namespace detail {

/// What the Tape does in a thread.
struct TapeMode {
  bool enabled = true;
  /// Not null while a checkpointed segment runs unrecorded: becomes true if an operation that would have been
  /// recorded meets a tensor that requires a gradient.
  bool* met_gradient = nullptr;
};
TapeMode& tape_mode();

}  // namespace detail

/// Sets the mode inside its scope.
class GradModeGuard {
 public:
  explicit GradModeGuard(bool enabled) : GradModeGuard(detail::TapeMode{.enabled = enabled}) {}
  explicit GradModeGuard(detail::TapeMode mode) : previous_(std::exchange(detail::tape_mode(), mode)) {}
  ~GradModeGuard() { detail::tape_mode() = previous_; }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;

 private:
  detail::TapeMode previous_;
};

/// Inside its scope nothing is recorded and results do not require a gradient. (torch.no_grad)
struct NoGradGuard : GradModeGuard {
  NoGradGuard() : GradModeGuard(false) {}
};

/// Records again inside a NoGradGuard. (torch.enable_grad)
struct EnableGradGuard : GradModeGuard {
  EnableGradGuard() : GradModeGuard(true) {}
};

/// As NoGradGuard, and tensors made inside can never take part in a recorded operation, so that nothing about
/// them needs tracking. (torch.inference_mode)
class InferenceModeGuard {
 public:
  InferenceModeGuard();
  ~InferenceModeGuard();
  InferenceModeGuard(const InferenceModeGuard&) = delete;
  InferenceModeGuard& operator=(const InferenceModeGuard&) = delete;

 private:
  NoGradGuard no_grad_;
  bool previous_;
};

/// Inside its scope the tape remembers the inputs' shapes and the options each op was called with. backward()
/// throws Error naming that call as soon as a gradient holds a NaN. Costs a scan of every gradient.
/// (torch.autograd.set_detect_anomaly)
class AnomalyGuard {
 public:
  AnomalyGuard();
  ~AnomalyGuard();
  AnomalyGuard(const AnomalyGuard&) = delete;
  AnomalyGuard& operator=(const AnomalyGuard&) = delete;
  static bool is_enabled();

 private:
  detail::DoorwayListener listens_;
  bool previous_;
};

}  // namespace taper
