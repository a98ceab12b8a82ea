// The 16-bit floats against their definition: every value, and rounding at and beside every midpoint.

#include <bit>
#include <cmath>
#include <limits>

#include "taper/core/base/half.h"

using namespace taper;

namespace {

/// The value of (sign, exponent, mantissa) bits, by the definition of IEEE 754.
double value_of(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(1 + std::ldexp(mantissa, -mantissa_bits), exponent - bias);
}

template <class T>
void check_type(int exponent_bits, int mantissa_bits) {
  const uint16_t infinity = uint16_t(((1 << exponent_bits) - 1) << mantissa_bits);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    T x;
    x.bits = uint16_t(bits);
    const double value = value_of(x.bits, exponent_bits, mantissa_bits);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(float(x)));
      REQUIRE(std::isnan(float(T(float(x)))));
      continue;
    }
    REQUIRE(double(float(x)) == value);
    REQUIRE(T(float(x)).bits == x.bits);
    if ((bits & 0x7fff) >= infinity) continue;
    // Between this value and the next one away from zero. After the largest value comes infinity.
    const double next = (bits & 0x7fff) + 1 == infinity
                            ? 2 * value - value_of(uint16_t(bits - 1), exponent_bits, mantissa_bits)
                            : value_of(uint16_t(bits + 1), exponent_bits, mantissa_bits);
    const float middle = float((value + next) / 2);
    REQUIRE(double(middle) == (value + next) / 2);
    const uint16_t up = uint16_t(bits + 1), even = bits % 2 == 0 ? uint16_t(bits) : up;
    const float toward = std::nextafter(middle, float(value)), away = std::nextafter(middle, float(2 * next));
    REQUIRE(T(middle).bits == even);
    REQUIRE(T(toward).bits == x.bits);
    REQUIRE(T(away).bits == up);
  }
  CHECK(T(std::numeric_limits<float>::max()).bits == infinity);
  CHECK(T(-INFINITY).bits == (0x8000 | infinity));
  CHECK(T(std::bit_cast<float>(0x7f800001u)).bits != infinity);  // a NaN with its low bits alone stays one
  CHECK(std::isnan(float(T(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace

TEST_CASE("f16 holds IEEE 754 binary16") {
  check_type<Half>(5, 10);
  CHECK(Half(1e-9f).bits == 0);
  CHECK(Half(-1e-9f).bits == 0x8000);
}

TEST_CASE("bf16 is the upper half of f32") {
  check_type<BFloat16>(8, 7);
}
