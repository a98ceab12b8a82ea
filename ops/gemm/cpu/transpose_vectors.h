#pragma once
// Transposes a square of numbers that lie in vector registers.

#include <cstddef>
#include <utility>

namespace taper::ops {

namespace detail {

/// Exchanges the off-diagonal kStep x kStep blocks of each 2 kStep x 2 kStep block of two rows.
template <int kStep, class Row, size_t... kLane>
[[gnu::always_inline]] inline void exchange_blocks(Row& a, Row& b, std::index_sequence<kLane...>) {
  constexpr int kSize = int(sizeof...(kLane));
  const Row first = __builtin_shufflevector(
      a, b, (int(kLane) / kStep % 2 == 0 ? int(kLane) : kSize + int(kLane) - kStep)...);
  b = __builtin_shufflevector(a, b,
                              (int(kLane) / kStep % 2 == 0 ? int(kLane) + kStep : kSize + int(kLane))...);
  a = first;
}

}  // namespace detail

/// Transposes the matrix of these rows. Each row is a vector of kSize lanes.
template <int kStep = 1, class Row, int kSize>
[[gnu::always_inline]] inline void transpose_vectors(Row (&rows)[kSize]) {
#pragma GCC unroll 16
  for (int i = 0; i < kSize; ++i) {
    if (i / kStep % 2 == 0)
      detail::exchange_blocks<kStep>(rows[i], rows[i + kStep], std::make_index_sequence<kSize>());
  }
  if constexpr (2 * kStep < kSize) transpose_vectors<2 * kStep>(rows);
}

}  // namespace taper::ops
