#pragma once
// For ops that move elements without regard to what their bits mean: one loop for each width serves all
// dtypes.

#include <cstddef>
#include <cstdint>

namespace taper::ops {

/// Calls body.operator()<T>() with an unsigned integer of `size_bytes` bytes: 1, 2, 4 or 8.
template <class Body>
void dispatch_width(size_t size_bytes, Body&& body) {
  switch (size_bytes) {
    case 1:
      return body.template operator()<uint8_t>();
    case 2:
      return body.template operator()<uint16_t>();
    case 4:
      return body.template operator()<uint32_t>();
    default:
      return body.template operator()<uint64_t>();
  }
}

}  // namespace taper::ops
