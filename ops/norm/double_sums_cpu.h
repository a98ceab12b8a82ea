#pragma once
// Sums over rows in double, of what batch norm reads a vector at a time.

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <type_traits>
#include <utility>

#include "taper/ops/simd.h"

namespace taper::ops {

/// A part of the channels of `at`, in double: as many as a vector of doubles has lanes.
template <class T, size_t kPart>
struct PartInDouble : VectorAt<double> {
  static constexpr size_t kIndex = kPart;

  /// Returns the part of a vector of T.
  Value widened(typename Simd<T>::Vector x) const {
    if constexpr (std::is_same_v<T, double>) {
      return x;
    } else {
#if defined(__AVX512F__)
      // GCC 12 would convert quarters and join them. It also considers the unmasked functions' results
      // uninitialised; a full mask costs nothing.
      constexpr __mmask8 kAll = 0xff;
      const __m256d half = _mm512_maskz_extractf64x4_pd(kAll, _mm512_castps_pd(__m512(x)), int(kPart));
      return Value(_mm512_maskz_cvtps_pd(kAll, _mm256_castpd_ps(half)));
#else
      constexpr size_t kFirst = kPart * size_t(Simd<double>::kLanes);
      return [&]<size_t... kLane>(std::index_sequence<kLane...>) {
        return __builtin_convertvector(__builtin_shufflevector(x, x, (kFirst + kLane)...), Value);
      }
      (std::make_index_sequence<size_t(Simd<double>::kLanes)>());
#endif
    }
  }
};
template <class T>
struct ScalarInDouble : ScalarAt<double> {
  static constexpr size_t kIndex = 0;

  double widened(T x) const { return double(x); }
};

template <class At>
inline constexpr size_t kParts = 1;
template <class T>
inline constexpr size_t kParts<VectorAt<T>> = size_t(Simd<T>::kLanes / Simd<double>::kLanes);

/// Calls visit(part) for the parts of `at` in double.
template <class T, class Visit>
void for_each_part(VectorAt<T> at, Visit&& visit) {
  constexpr int64_t kLanes = Simd<double>::kLanes;
  [&]<size_t... kPart>(std::index_sequence<kPart...>) {
    (visit(PartInDouble<T, kPart>{{at.i + int64_t(kPart) * kLanes}}), ...);
  }
  (std::make_index_sequence<kParts<VectorAt<T>>>());
}
template <class T, class Visit>
void for_each_part(ScalarAt<T> at, Visit&& visit) {
  visit(ScalarInDouble<T>{{at.i}});
}

/// For each channel of `at` a sum in double, which add() and add_product() add to.
template <class At>
class DoubleSum {
 public:
  using Value = typename At::Value;

  DoubleSum(At at, const double* sums) : at_(at) {
    for_each_part(at_, [&](auto part) { parts_[part.kIndex] = part.load(sums); });
  }
  void add(Value value) {
    for_each_part(at_, [&](auto part) { parts_[part.kIndex] += part.widened(value); });
  }
  void add_product(Value a, Value b) {
    for_each_part(at_, [&](auto part) { parts_[part.kIndex] += part.widened(a) * part.widened(b); });
  }
  void store(double* sums) const {
    for_each_part(at_, [&](auto part) { part.store(sums, parts_[part.kIndex]); });
  }

 private:
  using Part = std::conditional_t<std::is_arithmetic_v<Value>, double, Simd<double>::Vector>;

  At at_;
  Part parts_[kParts<At>];
};

/// As DoubleSum, but adds a few values in T before they join the sum: conversions cost more than additions.
/// For values of a half type, which are rounded more coarsely by far.
template <class At>
class FewInSingle {
 public:
  using Value = typename At::Value;

  FewInSingle(At at, const double*) : at_(at) {}
  void add(Value value) { few_ += value; }
  void add_product(Value a, Value b) { few_ += a * b; }
  void store(double* sums) const {
    for_each_part(at_, [&](auto part) { part.store(sums, part.load(sums) + part.widened(few_)); });
  }

 private:
  At at_;
  Value few_{};
};

}  // namespace taper::ops
