#pragma once
// Autocast: inside its scope, ops cast their inputs to the dtype that suits each of them. Products run in f16
// or bf16, losses in f32, and everything else in whatever arrives (autocast_policy.h has the table). The model
// and its parameters stay f32.
//
//   Tensor loss;
//   {
//     const AutocastGuard amp(kCUDA, kBFloat16);
//     loss = cross_entropy(model(images), labels);
//   }
//   loss.backward();
//
// The casts are ops on the tape, so gradients arrive in the dtypes of what they belong to. backward() itself
// is never under autocast, wherever it is called: each formula runs in the dtypes of its forward op, and so
// does a second derivative. Parameters are cast once an update, not once a call (weight_copy.h).
//
// PyTorch's counterparts: torch.autocast, ATen/autocast_mode.cpp.

#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "taper/autograd/tape/tape.h"

namespace taper {

namespace detail {

/// The scope's dtype for each kind of device; none where autocast is off.
struct AutocastMode {
  std::optional<DType> cpu, cuda;

  std::optional<DType>& of(DeviceType device) { return device == kCPU ? cpu : cuda; }
  bool is_on() const { return cpu || cuda; }
};

inline constinit thread_local AutocastMode autocast_mode;

/// Sets the thread's mode inside its scope.
class AutocastModeGuard {
 public:
  explicit AutocastModeGuard(AutocastMode mode) : previous_(std::exchange(autocast_mode, mode)) {}
  ~AutocastModeGuard() { autocast_mode = previous_; }
  AutocastModeGuard(const AutocastModeGuard&) = delete;
  AutocastModeGuard& operator=(const AutocastModeGuard&) = delete;

 private:
  AutocastMode previous_;
};

/// The thread's mode with another dtype for one kind of device. Throws Error unless it is f16 or bf16.
AutocastMode changed_autocast(DeviceType device, std::optional<DType> dtype);

}  // namespace detail

/// Inside its scope ops on `device` run under autocast, in this thread. Scopes nest. Throws Error for a dtype
/// that is not f16 or bf16. (torch.autocast)
struct AutocastGuard : detail::AutocastModeGuard {
  [[nodiscard]] AutocastGuard(DeviceType device, DType dtype)
      : AutocastModeGuard(detail::changed_autocast(device, dtype)) {}
};

/// Switches autocast off inside its scope: ops then take what they are given, which may be f16 or bf16 from
/// outside. (torch.autocast with enabled = False)
struct NoAutocastGuard : detail::AutocastModeGuard {
  [[nodiscard]] explicit NoAutocastGuard(DeviceType device)
      : AutocastModeGuard(detail::changed_autocast(device, std::nullopt)) {}
};

/// Returns the thread's autocast dtype on `device`; nothing where autocast is off.
/// (torch.get_autocast_dtype)
inline std::optional<DType> autocast_dtype(DeviceType device) {
  return detail::autocast_mode.of(device);
}

/// What autocast does to one call of an op: true if an input has to be cast. The call is then made again with
/// cast inputs, and with autocast off inside.
///
///   if (const Autocast cast{"matmul", {a, b}}) return matmul(cast(a), cast(b));
class Autocast {
 public:
  Autocast(std::string_view op, std::initializer_list<TensorRef> inputs) {
    if (detail::autocast_mode.is_on()) [[unlikely]]
      decide(op, inputs);
  }

  explicit operator bool() const { return off_.has_value(); }
  /// The dtype that inputs are cast to.
  DType dtype() const { return dtype_; }
  /// Returns x in the op's dtype. Leaves what autocast does not touch: undefined tensors, integers, f64,
  /// tensors on another kind of device.
  Tensor operator()(const Tensor& x) const;

 private:
  void decide(std::string_view op, std::span<const TensorRef> inputs);
  bool touches(const Tensor& x) const;

  DeviceType device_ = kCPU;
  DType dtype_ = kFloat32;
  std::optional<detail::AutocastModeGuard> off_;
};

}  // namespace taper
