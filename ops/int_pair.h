#pragma once
// A size, stride or padding of a 2-d window: one number for both axes, or one for each.

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace taper {

/// `IntPair stride = 2` means 2 down and 2 across; `IntPair padding{1, 0}` pads only the height.
struct IntPair {
  int64_t h = 0;  ///< along the height
  int64_t w = 0;  ///< along the width

  constexpr IntPair() = default;
  constexpr IntPair(int64_t both) : h(both), w(both) {}
  constexpr IntPair(int64_t height, int64_t width) : h(height), w(width) {}
  bool operator==(const IntPair&) const = default;
  std::string str() const { return fmt::format("{}x{}", h, w); }
};

}  // namespace taper

template <>
struct fmt::formatter<taper::IntPair> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const taper::IntPair& pair, Context& ctx) const {
    return fmt::formatter<std::string>::format(pair.str(), ctx);
  }
};
