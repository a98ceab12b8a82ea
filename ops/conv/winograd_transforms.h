#pragma once
// Winograd's minimal filtering: a 3x3 convolution by fewer multiplications. A tile of kOut x kOut outputs is
//
//   y = A^T [ (G w G^T) * (B^T d B) ] A        (* element by element)
//
// of the 3x3 kernel w and the (kOut + 2)^2 input pixels d that the tile sees. The products with A, B and G
// are additions and small factors; the multiplications that grow with the channels are (kOut + 2)^2 in place
// of 9 kOut^2: 2.25 times fewer for kOut = 2, 4 times for kOut = 4. As the map is bilinear, its transpose
// gives the gradient by the weights: gw = G^T [ (A gy A^T) * (B^T d B) ] G.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
// https://arxiv.org/abs/1509.09308.

#include <cstddef>
#include <utility>

#include "taper/ops/simd.h"

namespace taper::ops {

/// The matrices of F(kOut x kOut, 3x3), from interpolation at 0, 1, -1 (, 2, -2) and infinity.
template <int kOut>
struct Winograd;

template <>
struct Winograd<2> {
  static constexpr double kInput[4][4] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}};  // B^T
  static constexpr double kWeight[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};         // G
  static constexpr double kOutput[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};                              // A^T
};

template <>
struct Winograd<4> {
  static constexpr double kInput[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                                          {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  static constexpr double kWeight[6][3] = {{1. / 4, 0, 0},
                                           {-1. / 6, -1. / 6, -1. / 6},
                                           {-1. / 6, 1. / 6, -1. / 6},
                                           {1. / 24, 1. / 12, 1. / 6},
                                           {1. / 24, -1. / 12, 1. / 6},
                                           {0, 0, 1}};
  static constexpr double kOutput[4][6] = {
      {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
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

/// Row kRow of a matrix of constants times a vector of SIMD vectors, without its zeros.
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
