// Rounding of __half and __nv_bfloat16, against exact arithmetic in 113 bits.

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "taper/core/gpu/launch.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using test::DeviceArray;

namespace {

struct Triple {
  unsigned short a, b, c;
};
constexpr int kOperations = 8;
const char* const kNames[kOperations] = {"a + b",        "a - b",   "a * b",     "a / b",
                                         "fma(a, b, c)", "sqrt(a)", "max(a, b)", "min(a, b)"};

__device__ __forceinline__ unsigned short bits_of(__half v) {
  return __half_as_ushort(v);
}
__device__ __forceinline__ unsigned short bits_of(__nv_bfloat16 v) {
  return __bfloat16_as_ushort(v);
}
__device__ __forceinline__ void from_bits(unsigned short bits, __half& v) {
  v = __ushort_as_half(bits);
}
__device__ __forceinline__ void from_bits(unsigned short bits, __nv_bfloat16& v) {
  v = __ushort_as_bfloat16(bits);
}

template <class T>
__global__ void operate(const Triple* in, unsigned short* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  T a, b, c;
  from_bits(in[i].a, a);
  from_bits(in[i].b, b);
  from_bits(in[i].c, c);
  const T results[kOperations] = {a + b,           a - b,    a * b,        a / b,
                                  __hfma(a, b, c), hsqrt(a), __hmax(a, b), __hmin(a, b)};
  for (int op = 0; op < kOperations; ++op) out[i * kOperations + op] = bits_of(results[op]);
}

__device__ __forceinline__ void convert(float v, __half& h) {
  h = __float2half_rn(v);
}
__device__ __forceinline__ void convert(float v, __nv_bfloat16& h) {
  h = __float2bfloat16_rn(v);
}
__device__ __forceinline__ void convert(double v, __half& h) {
  h = __double2half(v);
}
__device__ __forceinline__ void convert(double v, __nv_bfloat16& h) {
  h = __double2bfloat16(v);
}

template <class T, class Wide>
__global__ void round_to(const Wide* in, unsigned short* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  T rounded;
  convert(in[i], rounded);
  out[i] = bits_of(rounded);
}

template <class T>
__global__ void widen(float* out) {
  T v;
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  from_bits(static_cast<unsigned short>(i), v);
  out[i] = static_cast<float>(v);
}

template <class T>
constexpr int kMantissaBits = std::is_same_v<T, __half> ? 10 : 7;
template <class T>
constexpr int kBias = std::is_same_v<T, __half> ? 15 : 127;
template <class T>
constexpr unsigned short kInfinity = std::is_same_v<T, __half> ? 0x7c00 : 0x7f80;

using Exact = __float128;

/// Returns the value that `bits` stand for; for the bits of infinity, the next power of two.
template <class T>
Exact exact(unsigned bits) {
  const unsigned magnitude = bits & 0x7fff, fraction = magnitude & ((1u << kMantissaBits<T>)-1);
  const int exponent = static_cast<int>(magnitude >> kMantissaBits<T>);
  const double value =
      exponent == 0 ? std::ldexp(fraction, 1 - kBias<T> - kMantissaBits<T>)
                    : std::ldexp(fraction + (1u << kMantissaBits<T>), exponent - kBias<T> - kMantissaBits<T>);
  return (bits & 0x8000) != 0 ? -value : value;
}

/// Returns the nearest of all values of T, ties to even, found by bisection.
template <class T>
unsigned short nearest(Exact value, bool negative) {
  const Exact magnitude = value < 0 ? -value : value;
  unsigned below = 0, above = kInfinity<T>;
  if (magnitude >= exact<T>(above)) return static_cast<unsigned short>(above | (negative ? 0x8000 : 0));
  while (above - below > 1) {
    const unsigned middle = (below + above) / 2;
    (exact<T>(middle) <= magnitude ? below : above) = middle;
  }
  const Exact to_below = magnitude - exact<T>(below), to_above = exact<T>(above) - magnitude;
  const unsigned bits = to_below < to_above   ? below
                        : to_above < to_below ? above
                        : below % 2 == 0      ? below
                                              : above;
  return static_cast<unsigned short>(bits | (negative ? 0x8000 : 0));
}

/// Returns x + y, or, where that needs more than 113 bits, a number that rounds to an equal half.
Exact exact_sum(Exact x, Exact y) {
  const Exact magnitude_x = x < 0 ? -x : x, magnitude_y = y < 0 ? -y : y;
  if (magnitude_x < magnitude_y) return exact_sum(y, x);
  const Exact tiny = magnitude_x * 0x1p-60;
  if (y != 0 && magnitude_y < tiny) y = y < 0 ? -tiny : tiny;
  return x + y;
}

template <class T>
bool is_nan(unsigned bits) {
  return (bits & 0x7fff) > kInfinity<T>;
}
template <class T>
bool is_finite(unsigned bits) {
  return (bits & 0x7fff) < kInfinity<T>;
}

/// Returns pairs of values close in exponent, where rounding is interesting, and some of every other kind.
std::vector<Triple> triples(int mantissa_bits) {
  std::mt19937 random(7);
  std::vector<Triple> all;
  for (int i = 0; i < 200000; ++i) {
    Triple t{static_cast<unsigned short>(random()), static_cast<unsigned short>(random()),
             static_cast<unsigned short>(random())};
    if (i % 2 == 0) t.b = static_cast<unsigned short>(t.a ^ (random() & ((2u << mantissa_bits) - 1)));
    all.push_back(t);
  }
  return all;
}

template <class T>
unsigned short expected(int op, const Triple& t) {
  const Exact a = exact<T>(t.a), b = exact<T>(t.b), c = exact<T>(t.c);
  const bool a_negative = (t.a & 0x8000) != 0, b_negative = (t.b & 0x8000) != 0;
  switch (op) {
    case 0:
      return nearest<T>(a + b, a + b < 0 || (a_negative && b_negative));
    case 1:
      return nearest<T>(a - b, a - b < 0 || (a_negative && !b_negative && a == 0 && b == 0));
    case 2:
      return nearest<T>(a * b, a_negative != b_negative);
    case 3:
      return nearest<T>(a / b, a_negative != b_negative);
    case 4: {
      const Exact sum = exact_sum(a * b, c);
      return nearest<T>(sum, sum < 0 || (sum == 0 && (t.c & 0x8000) != 0 && a_negative != b_negative));
    }
    case 5:
      return nearest<T>(std::sqrt(static_cast<long double>(a)), a_negative);
    case 6:
      return t.a == (t.b ^ 0x8000) && a == 0 ? 0 : a < b ? t.b : t.a;
    default:
      return t.a == (t.b ^ 0x8000) && a == 0 ? 0x8000 : b < a ? t.b : t.a;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("arithmetic on half types rounds once, to nearest even", "", __half, __nv_bfloat16) {
  const std::vector<Triple> inputs = triples(kMantissaBits<TestType>);
  const int count = static_cast<int>(inputs.size());
  DeviceArray<Triple> in(inputs);
  DeviceArray<unsigned short> out(inputs.size() * kOperations);
  gpu::launch("operate", operate<TestType>, {.grid = static_cast<unsigned>(count + 255) / 256, .block = 256},
              in.data(), out.data(), count);
  const auto results = out.host();
  for (int i = 0; i < count; ++i) {
    const Triple& t = inputs[static_cast<size_t>(i)];
    if (!is_finite<TestType>(t.a) || !is_finite<TestType>(t.b) || !is_finite<TestType>(t.c)) continue;
    for (int op = 0; op < kOperations; ++op) {
      const unsigned result = results[static_cast<size_t>(i * kOperations + op)];
      const bool invalid = (op == 3 && exact<TestType>(t.a) == 0 && exact<TestType>(t.b) == 0) ||
                           (op == 5 && exact<TestType>(t.a) < 0);
      const bool right = invalid                                ? is_nan<TestType>(result)
                         : op == 3 && exact<TestType>(t.b) == 0 ? (result & 0x7fff) == kInfinity<TestType>
                                                                : result == expected<TestType>(op, t);
      if (!right) {
        CAPTURE(kNames[op], t.a, t.b, t.c, result, expected<TestType>(op, t));
        REQUIRE(right);
      }
    }
  }
  SUCCEED();
}

TEMPLATE_TEST_CASE("every half value widens exactly", "", __half, __nv_bfloat16) {
  DeviceArray<float> out(65536);
  gpu::launch("widen", widen<TestType>, {.grid = 256, .block = 256}, out.data());
  const auto values = out.host();
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = values[bits];
    const bool right = is_nan<TestType>(bits)      ? std::isnan(value)
                       : is_finite<TestType>(bits) ? static_cast<Exact>(value) == exact<TestType>(bits) &&
                                                         std::signbit(value) == ((bits & 0x8000) != 0)
                                                   : std::isinf(value);
    if (!right) {
      CAPTURE(bits, value);
      REQUIRE(right);
    }
  }
  SUCCEED();
}

template <class T, class Wide>
static void check_conversion() {
  // Halfway points and their neighbours in the wide type, and random numbers of every magnitude.
  std::vector<Wide> inputs = {Wide(0),
                              -Wide(0),
                              std::numeric_limits<Wide>::infinity(),
                              std::numeric_limits<Wide>::quiet_NaN(),
                              -std::numeric_limits<Wide>::quiet_NaN(),
                              std::numeric_limits<Wide>::max(),
                              std::numeric_limits<Wide>::denorm_min()};
  for (unsigned bits = 0; bits < kInfinity<T>; ++bits) {
    const Wide halfway = static_cast<Wide>((exact<T>(bits) + exact<T>(bits + 1)) / 2);
    inputs.insert(inputs.end(), {halfway, std::nextafter(halfway, Wide(0)),
                                 -std::nextafter(halfway, std::numeric_limits<Wide>::max())});
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 20000; ++i) {
    inputs.push_back(std::ldexp(static_cast<Wide>(static_cast<double>(random()) - 0x1p63),
                                static_cast<int>(random() % 100) - 110));
  }
  const int count = static_cast<int>(inputs.size());
  DeviceArray<Wide> in(inputs);
  DeviceArray<unsigned short> out(inputs.size());
  gpu::launch("round_to", round_to<T, Wide>, {.grid = static_cast<unsigned>(count + 255) / 256, .block = 256},
              in.data(), out.data(), count);
  const auto results = out.host();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Wide value = inputs[i];
    if (std::isnan(value)) {  // which NaN it becomes differs by the conversion's instruction
      CAPTURE(i, results[i]);
      REQUIRE(is_nan<T>(results[i]));
      continue;
    }
    const unsigned expected =
        std::isinf(value) ? kInfinity<T> : nearest<T>(static_cast<Exact>(value), std::signbit(value));
    if (results[i] != expected) {
      CAPTURE(i, value, results[i], expected);
      REQUIRE(results[i] == expected);
    }
  }
  SUCCEED();
}

TEMPLATE_TEST_CASE("conversions to half types round to nearest even", "", __half, __nv_bfloat16) {
  check_conversion<TestType, float>();
  check_conversion<TestType, double>();
}
