#pragma once
// Winograd's minimal filtering: a 3x3 convolution by fewer multiplications. A tile of kOut x kOut outputs is
//
//   y = A^T [ (G w G^T) * (B^T d B) ] A        (* element by element)
//
// of the 3x3 kernel w and the (kOut + 2)^2 input pixels d that the tile sees. The products with A, B and G
// are additions and small factors. The multiplications that grow with the channels are (kOut + 2)^2 instead
// of 9 kOut^2: 2.25 times fewer for kOut = 2, 4 times for kOut = 4. The map is bilinear, so its transpose
// gives the gradient with respect to the weights: gw = G^T [ (A gy A^T) * (B^T d B) ] G.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
// https://arxiv.org/abs/1509.09308.

#include <cstddef>
#include <iterator>
#include <utility>

#include "taper/ops/simd.h"

namespace taper::ops {

/// The matrices of F(kOut x kOut, 3x3), which multiplies polynomials of degree kOut + 1 by their values at
/// kOut + 1 points and infinity. Rows of A are powers of the points. Each row of B is the polynomial that is
/// 0 at all points but one; G divides by its value there.
template <int kOut>
struct Winograd;

template <>
struct Winograd<2> {
  static constexpr double kInput[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};  // B^T
  static constexpr double kWeight[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};         // G
  static constexpr double kOutput[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};                              // A^T
};

/// The points 0, a, -a, b, -b. The textbooks' points, 1 and 2, give integers, but sums of large terms that
/// cancel. Ours make errors a third to a half as large, keep B exact in f32, and are the best among points of
/// few bits; see Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2018,
/// https://arxiv.org/abs/1803.10986.
template <>
struct Winograd<4> {
  static constexpr double a = 5. / 8, b = 3. / 2, aa = a * a, bb = b * b;
  static constexpr double kInput[6][6] = {
      {aa * bb, 0, -(aa + bb), 0, 1, 0}, {0, -a* bb, -bb, a, 1, 0}, {0, a* bb, -bb, -a, 1, 0},
      {0, -aa* b, -aa, b, 1, 0},         {0, aa* b, -aa, -b, 1, 0}, {0, aa* bb, 0, -(aa + bb), 0, 1}};
  static constexpr double at_0 = 1 / (aa * bb), at_a = 1 / (2 * aa * (aa - bb)),
                          at_b = 1 / (2 * bb * (bb - aa));
  static constexpr double kWeight[6][3] = {{at_0, 0, 0},
                                           {at_a, at_a* a, at_a* aa},
                                           {at_a, -at_a* a, at_a* aa},
                                           {at_b, at_b* b, at_b* bb},
                                           {at_b, -at_b* b, at_b* bb},
                                           {0, 0, 1}};
  static constexpr double kOutput[4][6] = {
      {1, 1, 1, 1, 1, 0}, {0, a, -a, b, -b, 0}, {0, aa, aa, bb, bb, 0}, {0, a* aa, -a* aa, b* bb, -b* bb, 1}};
};

/// A matrix of constants or its transpose.
template <const auto& kMatrix, bool kTransposed>
struct Constants {
  static constexpr size_t kRows = kTransposed ? std::size(kMatrix[0]) : std::size(kMatrix);
  static constexpr size_t kCols = kTransposed ? std::size(kMatrix) : std::size(kMatrix[0]);
  static constexpr double at(size_t row, size_t col) {
    return kTransposed ? kMatrix[col][row] : kMatrix[row][col];
  }
};

/// Row kRow of a matrix of constants times a vector of SIMD vectors, skipping zeros.
template <class T, class M, size_t kRow, class V>
[[gnu::always_inline]] inline V constant_row_times(const V* x) {
  V sum{};
  bool empty = true;
  const auto add = [&]<size_t kCol>() __attribute__((always_inline)) {
    constexpr double factor = M::at(kRow, kCol);
    if constexpr (factor != 0) {
      const V term = factor == 1 ? x[kCol] : factor == -1 && !empty ? x[kCol] : x[kCol] * T(factor);
      sum = empty ? term : factor == -1 ? sum - term : sum + term;
      empty = false;
    }
  };
  [&]<size_t... kCol>(std::index_sequence<kCol...>) __attribute__((always_inline)) {
    (add.template operator()<kCol>(), ...);
  }
  (std::make_index_sequence<M::kCols>());
  return sum;
}

/// M x M^T for a square x of SIMD vectors: load(i, j) gives x, store(i, j, value) takes the result.
template <class T, class M, class Load, class Store>
[[gnu::always_inline]] inline void transform_tile(Load&& load, Store&& store) {
  using V = typename Simd<T>::Vector;
  V half[M::kRows][M::kCols];
  for (size_t j = 0; j < M::kCols; ++j) {
    V column[M::kCols];
#pragma GCC unroll 6
    for (size_t i = 0; i < M::kCols; ++i) column[i] = load(i, j);
    [&]<size_t... kRow>(std::index_sequence<kRow...>) __attribute__((always_inline)) {
      ((half[kRow][j] = constant_row_times<T, M, kRow>(column)), ...);
    }
    (std::make_index_sequence<M::kRows>());
  }
  for (size_t i = 0; i < M::kRows; ++i) {
    [&]<size_t... kRow>(std::index_sequence<kRow...>) __attribute__((always_inline)) {
      (store(i, kRow, constant_row_times<T, M, kRow>(half[i])), ...);
    }
    (std::make_index_sequence<M::kRows>());
  }
}

}  // namespace taper::ops
