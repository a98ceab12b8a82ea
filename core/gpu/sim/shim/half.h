#pragma once
// __half and __nv_bfloat16 with CUDA's names, conversions and rounding: to nearest even, once per operation.
//
// Sums, products, quotients and roots are computed in f32 and rounded once more. f32 has more than twice the
// significant bits plus two of either type, so the second rounding is harmless (Figueroa, "When is double
// rounding innocuous?", 1995). That does not hold for a fused multiply-add, which goes through round-to-odd
// (Boldo and Melquiond, 2008).

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "taper/core/base/half.h"
#include "taper/core/gpu/sim/shim/vector_types.h"

namespace taper::gpu::sim {

/// Returns `value` plus the tiny `rest`, rounded to odd: rounding it to a shorter type is then correct.
inline double to_odd(double value, double rest) {
  if (rest == 0 || !std::isfinite(value)) return value;
  auto bits = std::bit_cast<uint64_t>(value);
  if ((rest < 0) != (value < 0)) --bits;  // rounded away from zero: step back
  return std::bit_cast<double>(bits | 1);
}

inline float to_odd_float(double value) {
  const auto rounded = static_cast<float>(value);
  if (std::isinf(rounded) || std::isnan(rounded) || rounded == value) return rounded;
  auto bits = std::bit_cast<uint32_t>(rounded);
  if (std::abs(static_cast<double>(rounded)) > std::abs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

/// Returns a * b + c, where the product is exact in double, rounded to odd.
inline double fma_to_odd(double a, double b, double c) {
  const double product = a * b, sum = product + c;
  const double c_part = sum - product, rest = (product - (sum - c_part)) + (c - c_part);  // Knuth's TwoSum
  return to_odd(sum, rest);
}

// The device's conversions turn every NaN into this one.
constexpr uint16_t kNaNBits = 0x7fff;

inline uint16_t half_bits(float value) {
  return std::isnan(value) ? kNaNBits : taper::detail::float_to_half_bits(value);
}
inline uint16_t half_bits(double value) {
  return half_bits(to_odd_float(value));
}
inline uint16_t bfloat16_bits(float value) {
  return std::isnan(value) ? kNaNBits : taper::detail::float_to_bfloat16_bits(value);
}
inline uint16_t bfloat16_bits(double value) {
  return bfloat16_bits(to_odd_float(value));
}

/// The operators of both types. They are not templates, so that conversions apply as in CUDA's headers.
template <class T>
struct Operators {
  friend T operator+(T a, T b) { return T(float(a) + float(b)); }
  friend T operator-(T a, T b) { return T(float(a) - float(b)); }
  friend T operator*(T a, T b) { return T(float(a) * float(b)); }
  friend T operator/(T a, T b) { return T(float(a) / float(b)); }
  friend T operator-(T a) { return T::from_bits(a.bits() ^ 0x8000); }
  friend T operator+(T a) { return a; }
  friend T& operator+=(T& a, T b) { return a = a + b; }
  friend T& operator-=(T& a, T b) { return a = a - b; }
  friend T& operator*=(T& a, T b) { return a = a * b; }
  friend T& operator/=(T& a, T b) { return a = a / b; }
  friend bool operator==(T a, T b) { return float(a) == float(b); }
  friend bool operator!=(T a, T b) { return float(a) != float(b); }
  friend bool operator<(T a, T b) { return float(a) < float(b); }
  friend bool operator>(T a, T b) { return float(a) > float(b); }
  friend bool operator<=(T a, T b) { return float(a) <= float(b); }
  friend bool operator>=(T a, T b) { return float(a) >= float(b); }
};

}  // namespace taper::gpu::sim

struct __half : taper::gpu::sim::Operators<__half> {
  __half() = default;
  __half(float v) : bits_(taper::gpu::sim::half_bits(v)) {}
  __half(double v) : bits_(taper::gpu::sim::half_bits(v)) {}
  __half(int v) : __half(double(v)) {}
  __half(unsigned v) : __half(double(v)) {}
  operator float() const { return taper::detail::half_bits_to_float(bits_); }
  uint16_t bits() const { return bits_; }
  static __half from_bits(unsigned bits) {
    __half h;
    h.bits_ = static_cast<uint16_t>(bits);
    return h;
  }
  static __half fma(__half a, __half b, __half c) {
    return taper::gpu::sim::fma_to_odd(float(a), float(b), float(c));
  }

 private:
  uint16_t bits_;
};

struct __nv_bfloat16 : taper::gpu::sim::Operators<__nv_bfloat16> {
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : bits_(taper::gpu::sim::bfloat16_bits(v)) {}
  __nv_bfloat16(double v) : bits_(taper::gpu::sim::bfloat16_bits(v)) {}
  __nv_bfloat16(int v) : __nv_bfloat16(double(v)) {}
  __nv_bfloat16(unsigned v) : __nv_bfloat16(double(v)) {}
  operator float() const { return std::bit_cast<float>(uint32_t{bits_} << 16); }
  uint16_t bits() const { return bits_; }
  static __nv_bfloat16 from_bits(unsigned bits) {
    __nv_bfloat16 h;
    h.bits_ = static_cast<uint16_t>(bits);
    return h;
  }
  static __nv_bfloat16 fma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
    return taper::gpu::sim::fma_to_odd(float(a), float(b), float(c));
  }

 private:
  uint16_t bits_;
};

struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

namespace taper::gpu::sim {
template <class T>
concept Half = std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>;
template <class T>
concept HalfPair = std::is_same_v<T, __half2> || std::is_same_v<T, __nv_bfloat162>;
}  // namespace taper::gpu::sim

// --------------------------------------------------------------------------------------------- conversions

inline __half __float2half(float v) {
  return v;
}
inline __half __float2half_rn(float v) {
  return v;
}
inline __half __double2half(double v) {
  return v;
}
inline __half __int2half_rn(int v) {
  return v;
}
inline float __half2float(__half v) {
  return v;
}
inline unsigned short __half_as_ushort(__half v) {
  return v.bits();
}
inline short __half_as_short(__half v) {
  return static_cast<short>(v.bits());
}
inline __half __ushort_as_half(unsigned short bits) {
  return __half::from_bits(bits);
}
inline __half __short_as_half(short bits) {
  return __half::from_bits(static_cast<unsigned short>(bits));
}

inline __nv_bfloat16 __float2bfloat16(float v) {
  return v;
}
inline __nv_bfloat16 __float2bfloat16_rn(float v) {
  return v;
}
inline __nv_bfloat16 __double2bfloat16(double v) {
  return v;
}
inline __nv_bfloat16 __int2bfloat16_rn(int v) {
  return v;
}
inline float __bfloat162float(__nv_bfloat16 v) {
  return v;
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) {
  return v.bits();
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return __nv_bfloat16::from_bits(bits);
}

inline __half2 make_half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __halves2half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __half2half2(__half v) {
  return {v, v};
}
inline __half2 __float2half2_rn(float v) {
  return {v, v};
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {x, y};
}
inline __half2 __float22half2_rn(float2 v) {
  return {v.x, v.y};
}
inline float2 __half22float2(__half2 v) {
  return {v.x, v.y};
}
inline __half __low2half(__half2 v) {
  return v.x;
}
inline __half __high2half(__half2 v) {
  return v.y;
}

inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 v) {
  return {v, v};
}
inline __nv_bfloat162 __float2bfloat162_rn(float v) {
  return {v, v};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {x, y};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return {v.x, v.y};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {v.x, v.y};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) {
  return v.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) {
  return v.y;
}

template <taper::gpu::sim::HalfPair P>
float __low2float(P v) {
  return v.x;
}
template <taper::gpu::sim::HalfPair P>
float __high2float(P v) {
  return v.y;
}

// ---------------------------------------------------------------------------------------------- arithmetic

template <taper::gpu::sim::Half T>
T __hadd(T a, T b) {
  return a + b;
}
template <taper::gpu::sim::Half T>
T __hsub(T a, T b) {
  return a - b;
}
template <taper::gpu::sim::Half T>
T __hmul(T a, T b) {
  return a * b;
}
template <taper::gpu::sim::Half T>
T __hdiv(T a, T b) {
  return a / b;
}
template <taper::gpu::sim::Half T>
T __hfma(T a, T b, T c) {
  return T::fma(a, b, c);
}
template <taper::gpu::sim::Half T>
T __hneg(T a) {
  return -a;
}
template <taper::gpu::sim::Half T>
T __habs(T a) {
  return T::from_bits(a.bits() & 0x7fff);
}
template <taper::gpu::sim::Half T>
bool __heq(T a, T b) {
  return a == b;
}
template <taper::gpu::sim::Half T>
bool __hne(T a, T b) {
  return a < b || a > b;
}  // ordered: false for NaN
template <taper::gpu::sim::Half T>
bool __hlt(T a, T b) {
  return a < b;
}
template <taper::gpu::sim::Half T>
bool __hle(T a, T b) {
  return a <= b;
}
template <taper::gpu::sim::Half T>
bool __hgt(T a, T b) {
  return a > b;
}
template <taper::gpu::sim::Half T>
bool __hge(T a, T b) {
  return a >= b;
}
template <taper::gpu::sim::Half T>
bool __hisnan(T a) {
  return std::isnan(float(a));
}
template <taper::gpu::sim::Half T>
T hsqrt(T a) {
  return std::sqrt(float(a));
}
template <taper::gpu::sim::Half T>
T hexp(T a) {
  return std::exp(double(float(a)));
}
template <taper::gpu::sim::Half T>
T hlog(T a) {
  return std::log(double(float(a)));
}
template <taper::gpu::sim::Half T>
T hrcp(T a) {
  return 1.0f / float(a);
}
template <taper::gpu::sim::Half T>
T hrsqrt(T a) {
  return 1.0 / std::sqrt(double(float(a)));
}

// A number wins over a NaN. Of two zeros, +0 is the larger (IEEE 754-2019 maximumNumber, as PTX max).
template <taper::gpu::sim::Half T>
T __hmax(T a, T b) {
  if (__hisnan(a) || __hisnan(b))
    return __hisnan(a) ? (__hisnan(b) ? T::from_bits(taper::gpu::sim::kNaNBits) : b) : a;
  if (a == b) return T::from_bits(a.bits() & b.bits());
  return a < b ? b : a;
}
template <taper::gpu::sim::Half T>
T __hmin(T a, T b) {
  if (__hisnan(a) || __hisnan(b))
    return __hisnan(a) ? (__hisnan(b) ? T::from_bits(taper::gpu::sim::kNaNBits) : b) : a;
  if (a == b) return T::from_bits(a.bits() | b.bits());
  return b < a ? b : a;
}

template <taper::gpu::sim::HalfPair P>
P __hadd2(P a, P b) {
  return {a.x + b.x, a.y + b.y};
}
template <taper::gpu::sim::HalfPair P>
P __hsub2(P a, P b) {
  return {a.x - b.x, a.y - b.y};
}
template <taper::gpu::sim::HalfPair P>
P __hmul2(P a, P b) {
  return {a.x * b.x, a.y * b.y};
}
template <taper::gpu::sim::HalfPair P>
P __h2div(P a, P b) {
  return {a.x / b.x, a.y / b.y};
}
template <taper::gpu::sim::HalfPair P>
P __hfma2(P a, P b, P c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
template <taper::gpu::sim::HalfPair P>
P __hmax2(P a, P b) {
  return {__hmax(a.x, b.x), __hmax(a.y, b.y)};
}
template <taper::gpu::sim::HalfPair P>
P __hmin2(P a, P b) {
  return {__hmin(a.x, b.x), __hmin(a.y, b.y)};
}
template <taper::gpu::sim::HalfPair P>
P __hneg2(P a) {
  return {-a.x, -a.y};
}
template <taper::gpu::sim::HalfPair P>
P __habs2(P a) {
  return {__habs(a.x), __habs(a.y)};
}
template <taper::gpu::sim::HalfPair P>
P operator+(P a, P b) {
  return __hadd2(a, b);
}
template <taper::gpu::sim::HalfPair P>
P operator-(P a, P b) {
  return __hsub2(a, b);
}
template <taper::gpu::sim::HalfPair P>
P operator*(P a, P b) {
  return __hmul2(a, b);
}
template <taper::gpu::sim::HalfPair P>
P operator/(P a, P b) {
  return __h2div(a, b);
}
