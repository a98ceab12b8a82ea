#pragma once
// Mean and squared distances of a product's columns, gathered by the blocks that compute it: a batch norm
// after a convolution needs them. For .cu files only.
//
// A block has a tile of the result at hand when it stores it. Its threads sum each column's rows in two
// passes: first the mean, then the squared distances from it. The values are those that memory will hold,
// rounded to the result's dtype. The threads leave a pair of numbers for each column and chunk of rows. That
// costs 1/16 byte (large tiles) to 1/4 byte per element, instead of reading the element again. cuDNN's
// counterpart: the GENSTATS operation, whose plain sums of values and squares cancel where the mean is large.

#include "taper/ops/gemm/gpu/gemm_operands.cuh"
#include "taper/ops/moments/channel_statistics_gpu.h"

namespace taper::ops {

/// A result with moments. It has no bias, residual or ReLU, and one batch axis.
template <class T>
struct MomentsOutput : GemmOutput<T> {
  static constexpr bool kMoments = true;
  SumOf<T>* moments = nullptr;  ///< [chunks of rows, 2, columns of all matrices]; null if k is split
  int64_t columns = 0;          ///< of all matrices; one matrix's are contiguous

  /// Stores the moments of column n of the block's matrix in the chunk of rows. Finds here where that
  /// matrix's columns begin: select()'s results would take registers throughout the main loop.
  __device__ __forceinline__ void store_moments(const GemmProblem& problem, int chunk, int n, SumOf<T> mean,
                                                SumOf<T> square) const {
    SumOf<T>* const to = moments + int64_t(2) * chunk * columns + problem.batch_index() * problem.n + n;
    to[0] = mean;
    to[columns] = square;
  }
};

/// The moments of a tile in shared memory, rows of kSumStride: each thread takes some rows of one column.
template <class T, class Shape>
struct MmaMoments {
  static constexpr int kRows = Shape::kTileM * Shape::kTileN / Shape::kThreads;  ///< of a chunk
  static_assert(Shape::kTileM % kRows == 0);

  static __device__ __forceinline__ void gather(const float* rows, const MomentsOutput<T>& out,
                                                const GemmProblem& problem, int m, int n) {
    const int column = int(threadIdx.x) % Shape::kTileN, first = int(threadIdx.x) / Shape::kTileN * kRows;
    const int count = min(problem.m - m - first, kRows);
    if (count <= 0 || n + column >= problem.n) return;
    const float* const from = rows + first * Shape::kSumStride + column;
    const auto value = [&](int i) { return device_cast<float>(device_cast<T>(from[i * Shape::kSumStride])); };
    float mean = 0, rest = 0, square = 0;
#pragma unroll 8
    for (int i = 0; i < count; ++i) mean += value(i);
    mean /= float(count);
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      const float distance = value(i) - mean;
      rest += distance;
      square += distance * distance;
    }
    // The sum of the distances is the rounding error of the mean.
    out.store_moments(problem, (m + first) / kRows, n + column, mean + rest / float(count),
                      square - rest * (rest / float(count)));
  }
};

/// The moments of sums in registers (gemm_simt.cuh). Each thread takes its own rows of each of its columns,
/// then one thread per column merges them in order. A chunk is a tile.
template <class T, class Shape>
struct SimtMoments {
  static constexpr int kRows = Shape::kTileM, kVector = Shape::kVector;
  static constexpr int kDeep = Shape::kTileM / Shape::kSquare;  ///< threads along m
  static_assert(size_t(2) * kDeep * Shape::kTileN * sizeof(T) <= Shape::kSharedBytes);
  static_assert(Shape::kThreads >= Shape::kTileN);

  /// `shared` is not in use. All threads of the block take part.
  template <class Sums>
  static __device__ __forceinline__ void gather(const Sums& sums, T* shared, const MomentsOutput<T>& out,
                                                const GemmProblem& problem, int m, int n) {
    const int deep = int(threadIdx.x) / Shape::kThreadsN;
    const int column = int(threadIdx.x) % Shape::kThreadsN * kVector;
    T* const squares = shared + kDeep * Shape::kTileN;
    const int count = rows_of(problem, m, deep);
    const T share = T(1) / T(count > 0 ? count : 1);
#pragma unroll
    for (int j = 0; j < Shape::kSquare; ++j) {
      const auto value = [&](int i) { return sums.at[i][j / kVector].values[j % kVector]; };
      const auto live = [&](int i) {
        return m + deep * kVector + i % kVector + i / kVector * (Shape::kTileM / 2) < problem.m;
      };
      T mean = 0, rest = 0, square = 0;
#pragma unroll
      for (int i = 0; i < Shape::kSquare; ++i) mean += live(i) ? value(i) : T(0);
      mean *= share;
#pragma unroll
      for (int i = 0; i < Shape::kSquare; ++i) {
        const T distance = live(i) ? value(i) - mean : T(0);
        rest += distance;
        square += distance * distance;
      }
      mean += rest * share;
      const int place = deep * Shape::kTileN + column + j % kVector + j / kVector * (Shape::kTileN / 2);
      shared[place] = mean;
      squares[place] = square;
    }
    __syncthreads();
    const int own = int(threadIdx.x);
    if (own >= Shape::kTileN || n + own >= problem.n) return;
    // Distances from the first mean are small, so they are exact and the sums lose nothing.
    const T first = shared[own], rows = T(min(problem.m - m, kRows));
    T sum = 0, square = 0;
    for (int i = 0; i < kDeep; ++i) {
      const T distance = shared[i * Shape::kTileN + own] - first, weight = T(rows_of(problem, m, i));
      sum += weight * distance;
      square += squares[i * Shape::kTileN + own] + weight * distance * distance;
    }
    const T mean = sum / rows;
    out.store_moments(problem, m / kRows, n + own, first + mean, max(square - sum * mean, T(0)));
  }

 private:
  /// How many rows of the `deep`-th threads are inside.
  static __device__ __forceinline__ int rows_of(const GemmProblem& problem, int m, int deep) {
    const int first = problem.m - m - deep * kVector;
    const auto part = [](int rest) { return min(max(rest, 0), kVector); };
    return part(first) + part(first - Shape::kTileM / 2);
  }
};

}  // namespace taper::ops
