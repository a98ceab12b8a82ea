#pragma once
// Conversions between any two dtypes go through one compute type, so that there is a loop for each type and
// not for each pair.

#include "taper/core/base/dtype.h"

namespace taper::ops {

/// Returns the type that a conversion goes through: the wider float if one side is a float, else int64_t.
/// Float to integer is rounded by the float's own type.
constexpr DType conversion_type(DType to, DType from) {
  if (to == kFloat64 || from == kFloat64) return kFloat64;
  if (is_floating_point(to) || is_floating_point(from)) return kFloat32;
  return kInt64;
}

}  // namespace taper::ops
