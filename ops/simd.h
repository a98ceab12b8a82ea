#pragma once
// The widest vectors of the build's instruction set (-march), by the compiler's vector extensions. Arithmetic
// is written with operators and compiles anywhere. Half types are loaded and stored as vectors of float, with
// the rounding of core/base/half.h to the bit.

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <utility>

#include "taper/core/base/half.h"

namespace taper::ops {

#if defined(__AVX512F__)
inline constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int64_t kVectorBytes = 32;
#else
inline constexpr int64_t kVectorBytes = 16;
#endif

/// Results of at least this many bytes have left the caches before they are read again.
inline constexpr int64_t kStreamBytes = int64_t(8) << 20;

/// Vectors of 16-bit floats in memory, as many as a vector of floats has lanes.
namespace half_vectors {

inline constexpr size_t kLanes = size_t(kVectorBytes) / sizeof(float);
using Floats [[gnu::vector_size(kVectorBytes)]] = float;
using Bits [[gnu::vector_size(kVectorBytes)]] = uint32_t;
using Signed [[gnu::vector_size(kVectorBytes)]] = int32_t;
using Words [[gnu::vector_size(kVectorBytes / 2)]] = uint16_t;

/// Returns each word in the upper half of a lane.
inline Bits upper_halves(Words words) {
#if defined(__AVX512F__)
  return Bits(_mm512_maskz_cvtepu16_epi32(0xffff, __m256i(words))) << 16;
#elif defined(__AVX2__)
  return Bits(_mm256_cvtepu16_epi32(__m128i(words))) << 16;
#else
  const auto interleave = [&]<size_t... kWord>(std::index_sequence<kWord...>) {
    return __builtin_shufflevector(Words{}, words, (kWord / 2 + kWord % 2 * kLanes)...);
  };
  return Bits(interleave(std::make_index_sequence<2 * kLanes>()));
#endif
}

/// Returns the upper half of each lane.
inline Words upper_words(Bits bits) {
#if defined(__SSE2__) && !defined(__AVX512F__)
  // A pack saturates; words that were shifted with their signs fit.
  const Signed shifted = Signed(bits) >> 16;
#if defined(__AVX__)
  const auto all = __m256i(shifted);
  return Words(_mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extractf128_si256(all, 1)));
#else
  const __m128i packed = _mm_packs_epi32(__m128i(shifted), __m128i(shifted));
  Words words;
  std::memcpy(&words, &packed, sizeof(words));
  return words;
#endif
#else
  using AllWords [[gnu::vector_size(kVectorBytes)]] = uint16_t;
  const auto words = AllWords(bits);
  return [&]<size_t... kLane>(std::index_sequence<kLane...>) {
    return __builtin_shufflevector(words, words, (2 * kLane + 1)...);
  }
  (std::make_index_sequence<kLanes>());
#endif
}

inline Floats widened(Words words, BFloat16) {
  return Floats(upper_halves(words));
}

inline Words narrowed(Floats value, BFloat16) {
  const auto bits = Bits(value);
  const Bits rounded = bits + 0x7fff + (bits >> 16 & 1);
  return upper_words(value == value ? rounded : bits | 0x400000);
}

inline Floats widened(Words words, Half) {
#if defined(__AVX512F__)
  return Floats(_mm512_maskz_cvtph_ps(0xffff, __m256i(words)));
#elif defined(__F16C__)
  return Floats(_mm256_cvtph_ps(__m128i(words)));
#else
  const Bits upper = upper_halves(words);
  const Signed magnitude = Signed(upper >> 3) & 0x0fffe000;
  // A subnormal's leading bit is found by the FPU: it subtracts what an exponent of 1 stands for.
  const Floats subnormal = Floats(magnitude + (113 << 23)) - 0x1p-14f;
  const Signed normal = magnitude + (112 << 23);
  const Signed special = magnitude | 0x7f800000 | (magnitude > 0x0f800000 ? Signed{} + 0x400000 : Signed{});
  const Signed value = magnitude >= 0x0f800000   ? special
                       : magnitude >= 0x00800000 ? normal
                                                 : Signed(subnormal);
  return Floats(Bits(value) | (upper & 0x80000000u));
#endif
}

inline Words narrowed(Floats value, Half) {
#if defined(__AVX512F__)
  return Words(_mm512_maskz_cvtps_ph(0xffff, __m512(value), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  return Words(_mm256_cvtps_ph(__m256(value), _MM_FROUND_TO_NEAREST_INT));
#else
  // As detail::float_to_half_bits, one bit pattern after the other.
  const Signed bits = Signed(value), magnitude = bits & 0x7fffffff;
  const Signed bounded = magnitude > 0x477ff000 ? Signed{} + 0x477ff000 : magnitude;
  const Signed normal = (bounded - 0x38000000 + 0xfff + (bounded >> 13 & 1)) >> 13;
  const Signed subnormal = Signed(Floats(magnitude) + 0.5f) - 0x3f000000;
  const Signed nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
  const Signed result = magnitude > 0x7f800000 ? nan : magnitude < 0x38800000 ? subnormal : normal;
  return upper_words(Bits(result) << 16 | (Bits(bits) & 0x80000000u));
#endif
}

}  // namespace half_vectors

template <class T>
struct Simd {
  static constexpr int64_t kLanes = kVectorBytes / int64_t(sizeof(T));
  using Vector [[gnu::vector_size(kVectorBytes)]] = T;
  /// A Vector anywhere in memory: it need not begin on a boundary of its size.
  using Unaligned [[gnu::vector_size(kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;

  static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void store(T* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
  /// Writes past the caches, to a multiple of kVectorBytes. For results that are larger than the last cache,
  /// whose lines would otherwise be read from memory only to be overwritten.
  static void stream(T* to, Vector value) {
#if __has_builtin(__builtin_nontemporal_store)
    __builtin_nontemporal_store(value, reinterpret_cast<Vector*>(to));
#elif defined(__AVX512F__)
    typedef float Floats __attribute__((vector_size(kVectorBytes)));
    __builtin_ia32_movntps512(reinterpret_cast<float*>(to), reinterpret_cast<Floats>(value));
#else
    store(to, value);
#endif
  }

  // For T = float: elements of a half type S, widened exactly, or rounded to nearest even.
  template <class S>
  static Vector load(const S* from) {
    half_vectors::Words words;
    std::memcpy(&words, from, sizeof(words));
    return half_vectors::widened(words, S());
  }
  template <class S>
  static void store(S* to, Vector value) {
    const half_vectors::Words words = half_vectors::narrowed(value, S());
    std::memcpy(static_cast<void*>(to), &words, sizeof(words));
  }
  /// Writes past the caches, to a multiple of kVectorBytes / 2.
  template <class S>
  static void stream(S* to, Vector value) {
#if defined(__AVX512F__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), __m256i(half_vectors::narrowed(value, S())));
#else
    store(to, value);
#endif
  }
};

/// Elements i, i + 1, ... of rows, as many as a vector of T has lanes. S: T, or a half type if T is float.
template <class T>
struct VectorAt {
  using Value = typename Simd<T>::Vector;
  int64_t i;

  template <class S>
  Value load(const S* row) const {
    return Simd<T>::load(row + i);
  }
  template <class S>
  void store(S* row, Value value) const {
    Simd<T>::store(row + i, value);
  }
};

/// Element i of rows, alone.
template <class T>
struct ScalarAt {
  using Value = T;
  int64_t i;

  template <class S>
  T load(const S* row) const {
    return T(row[i]);
  }
  template <class S>
  void store(S* row, T value) const {
    row[i] = S(value);
  }
};

/// Calls body(at) for the elements i < count of rows: with a VectorAt, and with a ScalarAt for the rest.
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_vector(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + Simd<T>::kLanes <= count; i += Simd<T>::kLanes) body(VectorAt<T>{i});
  for (; i < count; ++i) body(ScalarAt<T>{i});
}

/// to[i] = from[i] for i < count. From and To: float or a half type.
template <class From, class To>
void convert_floats(const From* from, To* to, int64_t count) {
  for_each_vector<float>(count, [&](auto at) { at.store(to, at.load(from)); });
}

}  // namespace taper::ops
