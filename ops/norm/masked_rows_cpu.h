#pragma once
// Rows of channels as the CPU's batch norm reads them, a vector at a time, beside the ReLU's mask: bit c % 8
// of byte c / 8 says whether channel c was let through (relu_mask_shape() in batch_norm.h).

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "taper/ops/simd.h"

namespace taper::ops {

/// Returns the lanes of x that a ReLU lets through, those above 0 and NaN: lane i in bit i.
template <class T>
uint32_t lanes_let_through(typename Simd<T>::Vector x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask(__m512(x), _mm512_setzero_ps(), _CMP_NLE_UQ);
  if constexpr (sizeof(T) == 8) return _mm512_cmp_pd_mask(__m512d(x), _mm512_setzero_pd(), _CMP_NLE_UQ);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(__m256(x), _mm256_setzero_ps(), _CMP_NLE_UQ)));
  if constexpr (sizeof(T) == 8)
    return uint32_t(_mm256_movemask_pd(_mm256_cmp_pd(__m256d(x), _mm256_setzero_pd(), _CMP_NLE_UQ)));
#endif
  uint32_t bits = 0;
  for (int64_t i = 0; i < Simd<T>::kLanes; ++i) bits |= uint32_t(!(x[i] <= T(0))) << i;
  return bits;
}

/// Channels whose mask bits are written together.
template <class T>
constexpr int64_t kMaskGroup = std::max<int64_t>(8, Simd<T>::kLanes);

/// Returns g where the row of a mask has ones, else 0.
template <class T>
typename Simd<T>::Vector let_through(VectorAt<T> at, const uint8_t* mask, typename Simd<T>::Vector g) {
  using Vector = typename Simd<T>::Vector;
  uint32_t word = 0;
  std::memcpy(&word, mask + at.i / 8, size_t(std::max<int64_t>(Simd<T>::kLanes / 8, 1)));
#if defined(__AVX512F__)
  // Masked in a register: a masked load would be one that no prefetcher sees coming.
  asm("" : "+v"(g));
  if constexpr (sizeof(T) == 4) return Vector(_mm512_maskz_mov_ps(__mmask16(word), __m512(g)));
  if constexpr (sizeof(T) == 8) return Vector(_mm512_maskz_mov_pd(__mmask8(word), __m512d(g)));
#endif
  using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  alignas(kVectorBytes) static constexpr Integer kBits[] = {1, 2, 4, 8, 16, 32, 64, 128};
  const auto bits = *reinterpret_cast<const typename Simd<Integer>::Vector*>(kBits);
  return ((typename Simd<Integer>::Vector{} + Integer(word >> at.i % 8)) & bits) != 0 ? g : Vector{};
}
template <class T>
T let_through(ScalarAt<T> at, const uint8_t* mask, T g) {
  return mask[at.i / 8] >> at.i % 8 & 1 ? g : T(0);
}

/// out[i] = value(at) for i < count, computed as T; `at` is a VectorAt or a ScalarAt. `mask`, unless null,
/// receives the bits of lanes_let_through.
template <class T, class S, class Value>
void write_row(S* out, int64_t count, bool stream, uint8_t* mask, Value&& value) {
  int64_t i = 0;
  for (; i + kMaskGroup<T> <= count; i += kMaskGroup<T>) {
    uint32_t bits = 0;
    for (int64_t part = 0; part < kMaskGroup<T>; part += Simd<T>::kLanes) {
      const auto result = value(VectorAt<T>{i + part});
      if (stream) {
        Simd<T>::stream(out + i + part, result);
      } else {
        Simd<T>::store(out + i + part, result);
      }
      if (mask) bits |= lanes_let_through<T>(result) << part;
    }
    if (mask) std::memcpy(mask + i / 8, &bits, size_t(kMaskGroup<T> / 8));
  }
  for (; i < count; ++i) {
    const T result = value(ScalarAt<T>{i});
    out[i] = S(result);
    if (mask && i % 8 == 0) mask[i / 8] = 0;
    if (mask) mask[i / 8] |= uint8_t(uint8_t(!(result <= T(0))) << i % 8);
  }
}

}  // namespace taper::ops
