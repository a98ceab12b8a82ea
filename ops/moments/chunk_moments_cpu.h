#pragma once
// The moments of a matrix's columns from those of chunks of its rows.

#include <utility>
#include <vector>

#include "taper/core/base/parallel.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/moments/column_moments_cpu.h"

namespace taper::ops {

/// Where a kernel writes the moments of its result's channels; null: not wanted.
template <class T>
struct ChannelMoments {
  T* mean = nullptr;  ///< [channels]
  T* var = nullptr;   ///< [channels]; biased

  explicit operator bool() const { return mean != nullptr; }
};

/// The moments of all chunks of a matrix. Different threads may gather different chunks, or different columns
/// of a chunk, in any order: the result depends on the cut alone.
template <class T>
class ChunkMoments {
 public:
  /// The rows of each chunk may be left open until finish(); a chunk of no rows is left out.
  ChunkMoments(std::vector<int64_t> rows, int64_t columns)
      : columns_(columns), rows_(std::move(rows)), memory_(2 * int64_t(rows_.size()) * columns) {}

  void set_rows(int64_t chunk, int64_t rows) { rows_[size_t(chunk)] = rows; }
  /// Returns the moments of a chunk's columns from `column` on.
  ColumnMoments<T> chunk(int64_t chunk, int64_t column = 0) const {
    T* const means = memory_.data() + 2 * chunk * columns_ + column;
    return {means, means + columns_};
  }

  /// Merges the chunks; at least one chunk has rows.
  void finish(const ChannelMoments<T>& to) const {
    constexpr int64_t kColumnsAtOnce = 64;
    double all = 0;
    for (const int64_t rows : rows_) all += double(rows);
    parallel_for(columns_, kColumnsAtOnce, [&](int64_t begin, int64_t end) {
      double mean[kColumnsAtOnce] = {}, square[kColumnsAtOnce] = {};
      for_each_chunk(begin, [&](double rows, const T* means, const T*) {
        for (int64_t c = 0; c < end - begin; ++c) mean[c] += rows * double(means[c]);
      });
      for (int64_t c = 0; c < end - begin; ++c) mean[c] /= all;
      for_each_chunk(begin, [&](double rows, const T* means, const T* squares) {
        for (int64_t c = 0; c < end - begin; ++c) {
          const double distance = double(means[c]) - mean[c];
          square[c] += double(squares[c]) + rows * distance * distance;
        }
      });
      for (int64_t c = begin; c < end; ++c) {
        to.mean[c] = T(mean[c - begin]);
        to.var[c] = T(square[c - begin] / all);
      }
    });
  }

 private:
  template <class Visit>
  void for_each_chunk(int64_t column, Visit&& visit) const {
    for (size_t i = 0; i < rows_.size(); ++i) {
      const ColumnMoments<T> moments = chunk(int64_t(i), column);
      if (rows_[i] > 0) visit(double(rows_[i]), moments.means, moments.squares);
    }
  }

  int64_t columns_;
  std::vector<int64_t> rows_;
  Scratch<T> memory_;
};

}  // namespace taper::ops
