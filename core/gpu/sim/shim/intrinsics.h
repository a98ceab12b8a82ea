#pragma once
// CUDA's built-in functions that involve no other thread: bits, conversions, fast arithmetic, cached loads,
// the clock.

#include <algorithm>
#include <bit>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "taper/core/gpu/sim/shim/alignment.h"
#include "taper/core/gpu/sim/shim/thread.h"

// ------------------------------------------------------------------------------------------------------ bits

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<long long>(a) * b >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}
/// Picks four of the eight bytes of y:x, each by the lowest three bits of a nibble of the selector.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 0xf;
    result |= static_cast<unsigned>(bytes >> 8 * (nibble & 7) & 0xff) << 8 * i;
  }
  return result;
}

inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline long long __double_as_longlong(double x) {
  return std::bit_cast<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return std::bit_cast<double>(x);
}

// ----------------------------------------------------------------------------------------------- conversions
// In conversions to integers, values out of range saturate and NaN becomes 0, as on the device.

namespace taper::gpu::sim {
template <class To>
To saturate(double x) {
  if (std::isnan(x)) return 0;
  if (x <= static_cast<double>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (x >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(x);
}
}  // namespace taper::gpu::sim

inline int __float2int_rn(float x) {
  return taper::gpu::sim::saturate<int>(std::nearbyint(x));
}
inline int __float2int_rz(float x) {
  return taper::gpu::sim::saturate<int>(std::trunc(x));
}
inline int __float2int_rd(float x) {
  return taper::gpu::sim::saturate<int>(std::floor(x));
}
inline int __float2int_ru(float x) {
  return taper::gpu::sim::saturate<int>(std::ceil(x));
}
inline unsigned __float2uint_rn(float x) {
  return taper::gpu::sim::saturate<unsigned>(std::nearbyint(x));
}
inline unsigned __float2uint_rz(float x) {
  return taper::gpu::sim::saturate<unsigned>(std::trunc(x));
}
inline long long __float2ll_rn(float x) {
  return taper::gpu::sim::saturate<long long>(std::nearbyint(x));
}
inline long long __float2ll_rz(float x) {
  return taper::gpu::sim::saturate<long long>(std::trunc(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
}

// ------------------------------------------------------------------------------------------------ arithmetic
// The device's fast functions err by a few ulp; these are at least as accurate.

inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline float __frsqrt_rn(float a) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a)));
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp10f(float x) {
  return std::pow(10.0f, x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __log10f(float x) {
  return std::log10(x);
}
inline float __powf(float x, float y) {
  return std::pow(x, y);
}
inline float __sinf(float x) {
  return std::sin(x);
}
inline float __cosf(float x) {
  return std::cos(x);
}
inline float __tanf(float x) {
  return std::tan(x);
}
inline float __tanhf(float x) {
  return std::tanh(x);
}
inline void __sincosf(float x, float* s, float* c) {
  *s = std::sin(x);
  *c = std::cos(x);
}
inline float __saturatef(float x) {
  return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}  // NaN becomes 0
inline float rsqrtf(float x) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float sinpif(float x) {
  return static_cast<float>(std::sin(M_PI * std::remainder(static_cast<double>(x), 2.0)));
}
inline float cospif(float x) {
  return static_cast<float>(std::cos(M_PI * std::remainder(static_cast<double>(x), 2.0)));
}
inline float normcdff(float x) {
  return static_cast<float>(0.5 * std::erfc(-static_cast<double>(x) * M_SQRT1_2));
}

// min and max as CUDA overloads them in the global namespace: of a NaN and a number, they return the number.
inline int min(int a, int b) {
  return b < a ? b : a;
}
inline unsigned min(unsigned a, unsigned b) {
  return b < a ? b : a;
}
inline long min(long a, long b) {
  return b < a ? b : a;
}
inline unsigned long min(unsigned long a, unsigned long b) {
  return b < a ? b : a;
}
inline long long min(long long a, long long b) {
  return b < a ? b : a;
}
inline unsigned long long min(unsigned long long a, unsigned long long b) {
  return b < a ? b : a;
}
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline int max(int a, int b) {
  return a < b ? b : a;
}
inline unsigned max(unsigned a, unsigned b) {
  return a < b ? b : a;
}
inline long max(long a, long b) {
  return a < b ? b : a;
}
inline unsigned long max(unsigned long a, unsigned long b) {
  return a < b ? b : a;
}
inline long long max(long long a, long long b) {
  return a < b ? b : a;
}
inline unsigned long long max(unsigned long long a, unsigned long long b) {
  return a < b ? b : a;
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}

/// Returns c plus the dot product of four signed bytes.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i)
    c += static_cast<signed char>(a >> 8 * i) * static_cast<signed char>(b >> 8 * i);
  return c;
}

// --------------------------------------------------------------------------------------------- loads, stores
// The cache hints have no effect here.

namespace taper::gpu::sim {

template <class T>
T checked_load(const char* intrinsic, const T* address, const Where& where) {
  check_aligned(intrinsic, address, alignof(T), where);
  return *address;
}
template <class T>
void checked_store(const char* intrinsic, T* address, const T& value, const Where& where) {
  check_aligned(intrinsic, address, alignof(T), where);
  *address = value;
}

}  // namespace taper::gpu::sim

template <class T>
T __ldg(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldg", address, where);
}
template <class T>
T __ldca(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldca", address, where);
}
template <class T>
T __ldcg(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldcg", address, where);
}
template <class T>
T __ldcs(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldcs", address, where);
}
template <class T>
T __ldlu(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldlu", address, where);
}
template <class T>
T __ldcv(const T* address, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::checked_load("__ldcv", address, where);
}
template <class T>
void __stwb(T* address, T value, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::checked_store("__stwb", address, value, where);
}
template <class T>
void __stcg(T* address, T value, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::checked_store("__stcg", address, value, where);
}
template <class T>
void __stcs(T* address, T value, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::checked_store("__stcs", address, value, where);
}
template <class T>
void __stwt(T* address, T value, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::checked_store("__stwt", address, value, where);
}

// ----------------------------------------------------------------------------------------------------- other

inline long long clock64() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}
/// Lets the other threads of the block run. A thread that spins on memory must call it.
inline void __nanosleep(unsigned) {
  taper::gpu::sim::yield_thread();
}
[[noreturn]] inline void __trap() {
  taper::gpu::sim::fault("__trap()");
}
