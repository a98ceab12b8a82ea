#include "taper/ops/gemm/cpu/dot_products.h"

#include <algorithm>

#include "taper/core/base/parallel.h"
#include "taper/ops/simd.h"

namespace taper::ops {
namespace {

/// Elements of the large matrix in one piece of a thread's work.
constexpr int64_t kElementsPerPiece = int64_t(1) << 15;
/// Vectors that are multiplied with a row while it passes through the registers.
constexpr int64_t kVectorsAtOnce = 4;

/// sums[v] = dot product of `row` and the vector at vectors + v * stride, for v < kCount.
template <int64_t kCount, class T, class Sum>
void dot_with(const T* row, const T* vectors, int64_t stride, int64_t length, Sum* sums) {
  using Vector = typename Simd<Sum>::Vector;
  constexpr int64_t kLanes = Simd<Sum>::kLanes;
  Vector even[kCount] = {}, odd[kCount] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= length; i += 2 * kLanes) {
    const Vector first = Simd<Sum>::load(row + i), second = Simd<Sum>::load(row + i + kLanes);
    for (int64_t v = 0; v < kCount; ++v) {
      even[v] += first * Simd<Sum>::load(vectors + v * stride + i);
      odd[v] += second * Simd<Sum>::load(vectors + v * stride + i + kLanes);
    }
  }
  for (int64_t v = 0; v < kCount; ++v) {
    even[v] += odd[v];
    Sum sum = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += even[v][lane];
    for (int64_t k = i; k < length; ++k) sum += Sum(row[k]) * Sum(vectors[v * stride + k]);
    sums[v] = sum;
  }
}

template <class T, class Sum>
void dot_with_up_to_four(int64_t count, const T* row, const T* vectors, int64_t stride, int64_t length,
                         Sum* sums) {
  if (count == 4) dot_with<4>(row, vectors, stride, length, sums);
  if (count == 3) dot_with<3>(row, vectors, stride, length, sums);
  if (count == 2) dot_with<2>(row, vectors, stride, length, sums);
  if (count == 1) dot_with<1>(row, vectors, stride, length, sums);
}

}  // namespace

template <class T, class Sum, class Out>
void dot_products(const Matrix<const T>& a, const Matrix<const T>& b, Sum beta, const Matrix<Out>& c) {
  const bool a_is_large = a.rows >= b.cols;
  const Matrix<const T> large = a_is_large ? a : b.t(), vectors = a_is_large ? b.t() : a;
  const int64_t length = a.cols;
  parallel_for(large.rows, std::max<int64_t>(1, kElementsPerPiece / std::max<int64_t>(length, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   for (int64_t v = 0; v < vectors.rows; v += kVectorsAtOnce) {
                     Sum sums[kVectorsAtOnce];
                     const int64_t count = std::min(kVectorsAtOnce, vectors.rows - v);
                     dot_with_up_to_four(count, large.data + i * large.stride,
                                         vectors.data + v * vectors.stride, vectors.stride, length, sums);
                     for (int64_t k = 0; k < count; ++k) {
                       const int64_t row = a_is_large ? i : v + k, col = a_is_large ? v + k : i;
                       Out& out = c.data[row * c.stride + col];
                       out = Out(beta == Sum(0) ? sums[k] : beta * Sum(out) + sums[k]);
                     }
                   }
                 }
               });
}

#define TAPER_DOT_PRODUCTS(T, Sum, Out) \
  template void dot_products(const Matrix<const T>&, const Matrix<const T>&, Sum, const Matrix<Out>&)
TAPER_DOT_PRODUCTS(float, float, float);
TAPER_DOT_PRODUCTS(double, double, double);
TAPER_DOT_PRODUCTS(BFloat16, float, BFloat16);
TAPER_DOT_PRODUCTS(BFloat16, float, float);
TAPER_DOT_PRODUCTS(Half, float, Half);
TAPER_DOT_PRODUCTS(Half, float, float);
#undef TAPER_DOT_PRODUCTS

}  // namespace taper::ops
