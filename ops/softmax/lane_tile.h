#pragma once
// Softmax and cross entropy both need each lane's largest element and the sum of its exponentials. The fast
// way depends on the layout: a lane that is a row in memory vectorises along itself; lanes that are columns
// vectorise side by side, one tile at a time. CPU code.

#include <algorithm>

#include "taper/ops/compute_type.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/elementwise/vector_math.h"
#include "taper/ops/lanes.h"
#include "taper/ops/simd.h"

namespace taper::ops {

/// Columns in a tile: their sums stay in the first-level cache.
inline constexpr int64_t kTileWidth = 64;

/// Calls body(start, lane, width) for tiles that cover lanes [begin, end). A tile has `width` lanes from
/// `lane` on; their first elements lie side by side from element `start` on. Rows come one by one.
template <class Body>
void for_each_tile(const Lanes& lanes, int64_t begin, int64_t end, Body&& body) {
  while (begin < end) {
    const int64_t in_memory = lanes.inner - begin % lanes.inner;  // before the next outer step
    const int64_t width = std::min({in_memory, end - begin, kTileWidth});
    body(lanes.start(begin), begin, width);
    begin += width;
  }
}

/// The elements of a tile as a kernel computes with them, in T: those in memory themselves, or half types
/// widened into the memory of a task, which is small and stays in the caches.
template <class S>
class TileValues {
 public:
  using T = ComputeType<S>;

  explicit TileValues(const Lanes& lanes)
      : memory_(std::is_same_v<S, T> ? 0 : lanes.size * std::min(lanes.inner, kTileWidth)) {}

  /// Returns how a tile's lanes lie behind load()'s result.
  static Lanes layout(const Lanes& lanes, int64_t width) {
    return std::is_same_v<S, T> ? lanes : Lanes{1, lanes.size, width};
  }
  /// Returns the elements of the tile that begins at x.
  const T* load(const S* x, const Lanes& lanes, int64_t width) const {
    if constexpr (std::is_same_v<S, T>) {
      return x;
    } else {
      for_each_row(lanes, width, [&](int64_t from, int64_t to, int64_t count) {
        convert_floats(x + from, memory_.data() + to, count);
      });
      return memory_.data();
    }
  }
  /// Returns where to write the elements of the tile that begins at y. Call store() then.
  T* target(S* y) const {
    if constexpr (std::is_same_v<S, T>)
      return y;
    else
      return memory_.data();
  }
  void store(S* y, const Lanes& lanes, int64_t width) const {
    if constexpr (!std::is_same_v<S, T>) {
      for_each_row(lanes, width, [&](int64_t to, int64_t from, int64_t count) {
        convert_floats(memory_.data() + from, y + to, count);
      });
    }
  }

 private:
  template <class Visit>
  static void for_each_row(const Lanes& lanes, int64_t width, Visit&& visit) {
    if (lanes.inner == 1) return visit(0, 0, lanes.size);
    for (int64_t c = 0; c < lanes.size; ++c) visit(c * lanes.inner, c * width, width);
  }

  Scratch<T> memory_;
};

/// Writes each lane's largest element and sum of exp(x - largest), in f64; x points at the tile's first
/// element. Several sums side by side keep the adders busy; their order is fixed.
template <class T>
void tile_statistics(const T* x, const Lanes& lanes, int64_t width, T* largest, double* sum) {
  const auto larger = [](T a, T b) { return b > a ? b : a; };  // a NaN shows up again in the exponentials
  if (lanes.inner == 1) {
    T best[16];
    std::fill(best, best + 16, x[0]);
    int64_t c = 0;
    for (; c + 16 <= lanes.size; c += 16) {
      for (int64_t k = 0; k < 16; ++k) best[k] = larger(best[k], x[c + k]);
    }
    for (; c < lanes.size; ++c) best[c % 16] = larger(best[c % 16], x[c]);
    for (int64_t k = 1; k < 16; ++k) best[0] = larger(best[0], best[k]);
    double sums[16] = {};
    for (c = 0; c + 16 <= lanes.size; c += 16) {
      for (int64_t k = 0; k < 16; ++k) sums[k] += double(vector_math::exp(x[c + k] - best[0]));
    }
    for (; c < lanes.size; ++c) sums[c % 16] += double(vector_math::exp(x[c] - best[0]));
    for (int64_t k = 1; k < 16; ++k) sums[0] += sums[k];
    *largest = best[0];
    *sum = sums[0];
    return;
  }
  std::copy(x, x + width, largest);
  for (int64_t c = 1; c < lanes.size; ++c) {
    const T* row = x + c * lanes.inner;
    for (int64_t i = 0; i < width; ++i) largest[i] = larger(largest[i], row[i]);
  }
  std::fill(sum, sum + width, 0.0);
  for (int64_t c = 0; c < lanes.size; ++c) {
    const T* row = x + c * lanes.inner;
    for (int64_t i = 0; i < width; ++i) sum[i] += double(vector_math::exp(row[i] - largest[i]));
  }
}

/// y = function(x, a of the lane, b of the lane) for every element of a tile. y may be x.
template <class T, class A, class B, class Function>
void map_tile(const T* x, T* y, const Lanes& lanes, int64_t width, const A* a, const B* b,
              Function&& function) {
  if (lanes.inner == 1) {
    const A lane_a = *a;
    const B lane_b = *b;
#pragma GCC ivdep
    for (int64_t c = 0; c < lanes.size; ++c) y[c] = function(x[c], lane_a, lane_b);
    return;
  }
  for (int64_t c = 0; c < lanes.size; ++c) {
    const T* from = x + c * lanes.inner;
    T* to = y + c * lanes.inner;
#pragma GCC ivdep
    for (int64_t i = 0; i < width; ++i) to[i] = function(from[i], a[i], b[i]);
  }
}

}  // namespace taper::ops
