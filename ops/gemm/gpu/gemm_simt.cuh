#pragma once  // spine 39 (docs/0-the-spine.md)
// Matrix products in f32 and f64 on the ordinary cores: the main loop. For .cu files only.
//
// A block computes a tile of c and walks along k in steps of kTileK. While the threads multiply one pair of
// tiles from shared memory, the next pair is on its way to registers. At the end of the step it goes to the
// other half of shared memory, so one barrier per step is enough. Each thread keeps a square of sums in
// registers and adds outer products to it: for f32 it reads 16 numbers from shared memory for 64
// multiply-adds. (Volkov and Demmel, "Benchmarking GPUs to tune dense linear algebra", 2008.) The square has
// four parts so that a warp reads neighbouring 16 bytes, as in CUTLASS's SIMT kernels.

#include "taper/ops/gemm/gpu/gemm_moments.cuh"
#include "taper/ops/gemm/gpu/gemm_operands.cuh"

namespace taper::ops {

/// A block's tile and its threads. In shared memory k is the slow index of both operands.
template <class T, int kTileM_, int kTileN_, int kTileK_, int kResident_>
struct SimtShape {
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kTileK = kTileK_;
  static constexpr int kVector = kVectorOf<T>;
  static constexpr int kSquare = 2 * kVector;  ///< sums along each side of a thread's square
  static constexpr int kThreadsN = kTileN / kSquare;
  static constexpr int kThreads = kTileM / kSquare * kThreadsN;
  static constexpr int kStrideM = kTileM + kVector, kStrideN = kTileN + kVector;
  static constexpr int kStage = kTileK * (kStrideM + kStrideN);
  static constexpr size_t kSharedBytes = 2 * kStage * sizeof(T);
  static constexpr int kResident = kResident_;  ///< blocks that share a multiprocessor's registers
};

/// One thread's share of the tiles of one operand: from memory to registers, from there to shared memory.
template <class Operand, int kExtent, int kTileK, int kThreads>
class SimtReader {
  using T = typename Operand::Element;
  static constexpr bool kInnerIsK = Operand::kInnerIsK;
  static constexpr int kVector = kVectorOf<T>;
  static constexpr int kInner = kInnerIsK ? kTileK : kExtent, kOuter = kInnerIsK ? kExtent : kTileK;
  static constexpr int kRowThreads = kInner / kVector, kRowStep = kThreads / kRowThreads;
  static constexpr int kPasses = kOuter / kRowStep;
  static_assert(kInner % kVector == 0 && kThreads % kRowThreads == 0 && kOuter % kRowStep == 0);

 public:
  /// The tiles cover rows (of a) or columns (of b) [first, end).
  __device__ __forceinline__ SimtReader(const Operand& operand, int first, int end)
      : operand_(operand),
        first_(first),
        end_(end),
        row_(int(threadIdx.x) / kRowThreads),
        column_(int(threadIdx.x) % kRowThreads * kVector) {
    if constexpr (kInnerIsK) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) rows_[pass] = operand_.row(first_ + row_ + pass * kRowStep);
    }
  }

  /// Begins to load the tile of k, k + 1, ...; elements at k_end and beyond are zero.
  __device__ __forceinline__ void load(int k, int k_end) {
    const int outer = (kInnerIsK ? first_ : k) + row_, outer_end = kInnerIsK ? end_ : k_end;
    const int inner = (kInnerIsK ? k : first_) + column_, inner_end = kInnerIsK ? k_end : end_;
    if (operand_.vectors) {
      const auto column = operand_.column(inner);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const T* from = outer + pass * kRowStep < outer_end && inner < inner_end
                            ? operand_.at(row(pass, outer), column)
                            : nullptr;
        loaded_[pass] = from ? *reinterpret_cast<const Pack<T, kVector>*>(from) : Pack<T, kVector>{};
      }
    } else {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const auto column = operand_.column(inner + i);
#pragma unroll
        for (int pass = 0; pass < kPasses; ++pass) {
          const T* from = outer + pass * kRowStep < outer_end && inner + i < inner_end
                              ? operand_.at(row(pass, outer), column)
                              : nullptr;
          loaded_[pass].values[i] = from ? *from : T(0);
        }
      }
    }
  }

  /// Stores the loaded elements in a tile of shared memory: [kTileK][kStride].
  template <int kStride>
  __device__ __forceinline__ void store(T* tile) const {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int outer = row_ + pass * kRowStep;
      if constexpr (kInnerIsK) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) tile[(column_ + i) * kStride + outer] = loaded_[pass].values[i];
      } else {
        *reinterpret_cast<Pack<T, kVector>*>(tile + outer * kStride + column_) = loaded_[pass];
      }
    }
  }

 private:
  __device__ __forceinline__ auto row(int pass, int outer) const {
    if constexpr (kInnerIsK)
      return rows_[pass];
    else
      return operand_.row(outer + pass * kRowStep);
  }

  const Operand& operand_;
  int first_, end_;
  int row_, column_;
  typename Operand::Row rows_[kInnerIsK ? kPasses : 1];
  Pack<T, kVector> loaded_[kPasses];
};

/// One thread's sums: rows (or columns) [0, kVector) and [kTile / 2, kTile / 2 + kVector) from its first.
template <class Shape, class T>
struct SimtSums {
  Pack<T, Shape::kVector> at[Shape::kSquare][2] = {};

  /// Adds the products of one pair of tiles.
  __device__ __forceinline__ void multiply(const T* tile_a, const T* tile_b, int row, int column) {
    constexpr int kVector = Shape::kVector;
    using Vector = Pack<T, kVector>;
#pragma unroll
    for (int k = 0; k < Shape::kTileK; ++k) {
      Vector left[2], right[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const T* a = tile_a + k * Shape::kStrideM + row + half * (Shape::kTileM / 2);
        const T* b = tile_b + k * Shape::kStrideN + column + half * (Shape::kTileN / 2);
        left[half] = *reinterpret_cast<const Vector*>(a);
        right[half] = *reinterpret_cast<const Vector*>(b);
      }
#pragma unroll
      for (int i = 0; i < Shape::kSquare; ++i) {
#pragma unroll
        for (int j = 0; j < Shape::kSquare; ++j) {
          at[i][j / kVector].values[j % kVector] +=
              left[i / kVector].values[i % kVector] * right[j / kVector].values[j % kVector];
        }
      }
    }
  }

  /// Writes the sums to the result.
  __device__ __forceinline__ void store(const GemmOutput<T>& out, const GemmProblem& problem, int row,
                                        int column) const {
    constexpr int kVector = Shape::kVector;
#pragma unroll
    for (int i = 0; i < Shape::kSquare; ++i) {
      const int m = row + i % kVector + i / kVector * (Shape::kTileM / 2);
      if (m >= problem.m) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int n = column + half * (Shape::kTileN / 2);
        if (n < problem.n) out.store(problem, m, n, at[i][half]);
      }
    }
  }
};

/// Grid: (tiles of c, splits of k, matrices). Each block reads (m + n) * k elements of its tile's rows and
/// columns. Limited by arithmetic for 128 x 128 tiles, almost by shared memory for 64 x 64.
template <class T, class Shape, class OperandA, class OperandB, class Output>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    gemm_simt(OperandA a, OperandB b, Output out, GemmProblem problem) {
  constexpr int kTileA = Shape::kTileK * Shape::kStrideM;
  T* const shared = gpu::dynamic_shared<T>();
  problem.select_batch(a, b, out);
  const TilePlace place = tile_place<Shape::kTileM, Shape::kTileN>(problem);
  const int k_begin = int(blockIdx.y) * problem.k_per_split;
  const int k_end = min(problem.k, k_begin + problem.k_per_split);
  SimtReader<OperandA, Shape::kTileM, Shape::kTileK, Shape::kThreads> reader_a(a, place.m, problem.m);
  SimtReader<OperandB, Shape::kTileN, Shape::kTileK, Shape::kThreads> reader_b(b, place.n, problem.n);
  const int row = int(threadIdx.x) / Shape::kThreadsN * Shape::kVector;
  const int column = int(threadIdx.x) % Shape::kThreadsN * Shape::kVector;
  const bool has_work = place.m + row < problem.m && place.n + column < problem.n;

  SimtSums<Shape, T> sums;
  reader_a.load(k_begin, k_end);
  reader_b.load(k_begin, k_end);
  T* stage = shared;
  for (int k = k_begin; k < k_end; k += Shape::kTileK) {
    reader_a.template store<Shape::kStrideM>(stage);
    reader_b.template store<Shape::kStrideN>(stage + kTileA);
    __syncthreads();
    reader_a.load(k + Shape::kTileK, k_end);
    reader_b.load(k + Shape::kTileK, k_end);
    if (has_work) sums.multiply(stage, stage + kTileA, row, column);
    stage = stage == shared ? shared + Shape::kStage : shared;
  }
  if (has_work) sums.store(out, problem, place.m + row, place.n + column);
  if constexpr (Output::kMoments) {
    if (out.moments == nullptr) return;
    __syncthreads();  // the last tiles were read
    SimtMoments<T, Shape>::gather(sums, shared, out, problem, place.m, place.n);
  }
}

}  // namespace taper::ops
