#pragma once
// In which dtype each op runs under autocast. PyTorch's counterpart: the lists of ATen/autocast_mode.h.

#include <cstdint>
#include <span>
#include <string_view>

#include "taper/core/base/device.h"

namespace taper {

/// What autocast does with an op's floating-point inputs. It never touches f64.
enum class CastPolicy : uint8_t {
  kAsTheyCome,  ///< nothing: the op takes what it is given, and promotes mixed dtypes as it always does
  kLow,         ///< cast to the scope's f16 or bf16: products, whose sums are f32 all the same
  kFloat32,     ///< cast to f32: results that need its range or its digits
  kWidest       ///< cast to the widest dtype among the inputs
};

struct AutocastRule {
  std::string_view op;  ///< as it enters the tape (autograd/tape/tape.h)
  CastPolicy cpu, cuda;
  std::string_view reason;
};

/// All ops that autocast casts for. Ops that are not listed run as they come.
std::span<const AutocastRule> autocast_rules();

CastPolicy cast_policy(std::string_view op, DeviceType device);

}  // namespace taper
