#pragma once
// The tensors of one call as a vendor's library takes them: addresses by their roles.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "taper/core/tensor.h"

namespace taper::ops {

/// A tensor's role in an operation. kGradX is the gradient with respect to x, and so on. (cuDNN: UID)
enum class Operand : uint8_t {
  kX = 1,
  kWeight,
  kBias,
  kResidual,
  kY,
  kGradY,
  kGradX,
  kGradWeight,
  kSum,        ///< of each of y's channels
  kSquareSum,  ///< of their squares, for each channel
  kScale,      ///< of each of x's channels
  kShift,      ///< of each of x's channels
  kGradBias,
  kGradResidual,
  kReluMask,
  kMean,
  kInvstd,
  kRunningMean,
  kRunningVar,
  kNextRunningMean,
  kNextRunningVar,
  kMomentum,  ///< a number
  kEpsilon,   ///< a number
  kZero,      ///< the number 0
  kA,         ///< of a matrix product, as in blas_gemm.h
  kB,
  kC,
  kD,
};

/// A tensor by its address or, if that is null, a number.
struct EngineOperand {
  Operand operand = Operand::kX;
  void* address = nullptr;
  float number = 0;
};

/// Bytes that divide the addresses of an engine's tensors. Calls with less aligned tensors do not go to a
/// library: some of cuDNN's engines (9.19, convolutions in f32 on an H200) fault on them, although they were
/// told the true alignment.
constexpr int64_t kEngineAlignment = 16;

/// The operands of one call, on the stack. Operands that the call lacks are left out.
class EngineOperands {
 public:
  static constexpr size_t kMost = 16;

  struct Named {
    Operand operand;
    const Tensor& tensor;  ///< may be undefined: the call has no such operand
  };

  EngineOperands() = default;
  explicit EngineOperands(Device device) : device_(device) {}
  EngineOperands(std::initializer_list<Named> operands) {
    for (const Named& named : operands) add(named.operand, named.tensor);
  }

  /// Does nothing if the tensor is undefined. Throws Error if there are too many.
  void add(Operand operand, const Tensor& tensor) {
    if (!tensor.defined()) return;
    device_ = tensor.device();
    add(operand, tensor.data_ptr());
  }
  void add(Operand operand, void* address) { push({.operand = operand, .address = address}); }
  void add(Operand operand, double number) { push({.operand = operand, .number = float(number)}); }

  std::span<const EngineOperand> all() const { return {operands_.data(), count_}; }
  /// Returns null if the call has no such operand.
  const EngineOperand* find(Operand operand) const;
  /// Returns null if the call has no such tensor.
  void* address(Operand operand) const;
  /// Returns the tensors' device.
  Device device() const { return device_; }
  /// Returns the largest power of two, at most 256, that divides all addresses.
  int64_t alignment() const;
  /// Whether engines may take them: see kEngineAlignment.
  bool are_aligned() const { return alignment() >= kEngineAlignment; }

 private:
  void push(const EngineOperand& operand);

  std::array<EngineOperand, kMost> operands_;
  size_t count_ = 0;
  Device device_ = kCUDA;
};

}  // namespace taper::ops
