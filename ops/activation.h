#pragma once
// What may follow a matrix product before its result is stored.

#include <cstdint>
#include <string_view>

namespace taper {

/// kGeluTanh is gelu in the form with tanh (ops/elementwise/elementwise.h), which cuBLASLt can fuse.
enum class Activation : uint8_t { kNone, kRelu, kGeluTanh };

/// Returns "none", "relu" or "gelu_tanh".
constexpr std::string_view name(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return "relu";
    case Activation::kGeluTanh:
      return "gelu_tanh";
    default:
      return "none";
  }
}

}  // namespace taper
