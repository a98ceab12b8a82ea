#pragma once
// Matrix products in f16 and bf16 on the tensor cores: the main loop. For .cu files only.
//
// A block computes a tile of c and each of its warps a part of it, in 16x8x16 pieces (core/gpu/mma.h). Tiles
// of a and b travel from device memory to shared memory without passing through registers
// (core/gpu/async_copy.h). They run kStages - 1 steps of k ahead of the multiplication, so that the tensor
// cores have work while memory answers. In shared memory a tile has rows of 16-byte chunks, as in device
// memory, but chunk c of row r is stored at chunk c ^ (r % 8). Both the copies, which write rows, and
// ldmatrix, which reads chunk c of eight rows, then touch all 32 banks. ldmatrix transposes an operand whose
// inner index is not k on its way to registers. PyTorch's counterpart: cuBLAS; the scheme: CUTLASS's
// MmaMultistage.

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/async_copy.h"
#include "taper/core/gpu/mma.h"
#include "taper/ops/gemm/gpu/gemm_moments.cuh"
#include "taper/ops/gemm/gpu/gemm_operands.cuh"

namespace taper::ops {

/// A block's tile, its warps as a grid, and how many tiles of k shared memory holds.
template <int kTileM_, int kTileN_, int kWarpsM_, int kWarpsN_, int kStages_, int kResident_>
struct MmaShape {
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kTileK = 64;
  static constexpr int kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kStages = kStages_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kWarpTileM = kTileM / kWarpsM, kWarpTileN = kTileN / kWarpsN;
  static constexpr int kStage = (kTileM + kTileN) * kTileK;
  /// Row stride of the sums in shared memory: the lanes of one store hit different banks.
  static constexpr int kSumStride = kTileN + 8;
  static constexpr int kResident = kResident_;  ///< blocks that share a multiprocessor
  static constexpr size_t kSharedBytes = size_t(kStages) * kStage * 2;
  static_assert(kWarpTileM % 16 == 0 && kWarpTileN % 16 == 0);
  static_assert(size_t(kTileM) * kSumStride * 4 <= kSharedBytes);
};

/// A tile in shared memory: rows of kInner values in swizzled chunks of 8.
template <class T, int kInner>
struct SwizzledTile {
  static_assert(kInner % 64 == 0, "the swizzle permutes groups of 8 chunks");

  static __device__ __forceinline__ int place(int row, int chunk) {
    return row * kInner + (chunk ^ row % 8) * 8;
  }
};

/// One thread's share of the tiles of one operand. With kAnyLayout the operand may lack 16-byte vectors; its
/// elements are then fetched one by one, without running ahead.
template <class Operand, int kExtent, int kTileK, int kThreads, bool kAnyLayout>
class MmaReader {
  using T = typename Operand::Element;
  static constexpr bool kInnerIsK = Operand::kInnerIsK;
  static constexpr int kInner = kInnerIsK ? kTileK : kExtent, kOuter = kInnerIsK ? kExtent : kTileK;
  static constexpr int kRowThreads = kInner / 8, kRowStep = kThreads / kRowThreads;
  static constexpr int kPasses = kOuter / kRowStep;
  static_assert(kThreads % kRowThreads == 0 && kOuter % kRowStep == 0);

 public:
  using Tile = SwizzledTile<T, kInner>;

  /// The tiles cover rows (of a) or columns (of b) [first, end).
  __device__ __forceinline__ MmaReader(const Operand& operand, int first, int end)
      : operand_(operand),
        first_(first),
        end_(end),
        row_(int(threadIdx.x) / kRowThreads),
        chunk_(int(threadIdx.x) % kRowThreads) {
    if constexpr (Operand::kKeepRows) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) rows_[pass] = operand_.row(first_ + row_ + pass * kRowStep);
    }
  }

  /// Begins to fetch the tile of k, k + 1, ...; elements at k_end and beyond are zero.
  __device__ __forceinline__ void fetch(T* tile, int k, int k_end) const {
    const int outer = (kInnerIsK ? first_ : k) + row_, outer_end = kInnerIsK ? end_ : k_end;
    const int inner = (kInnerIsK ? k : first_) + chunk_ * 8, inner_end = kInnerIsK ? k_end : end_;
    if (!kAnyLayout || operand_.vectors) {
      const auto column = operand_.column(inner);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const T* from = outer + pass * kRowStep < outer_end && inner < inner_end
                            ? operand_.at(row(pass, outer), column)
                            : nullptr;
        gpu::async_copy<16>(tile + Tile::place(row_ + pass * kRowStep, chunk_), from ? from : operand_.data,
                            from != nullptr);
      }
    } else {
#pragma unroll 1
      for (int pass = 0; pass < kPasses; ++pass) {
        Pack<T, 8> chunk;
        const auto place = operand_.row(outer + pass * kRowStep);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const T* from = outer + pass * kRowStep < outer_end && inner + i < inner_end
                              ? operand_.at(place, operand_.column(inner + i))
                              : nullptr;
          chunk.values[i] = from ? *from : T(0.0f);
        }
        *reinterpret_cast<Pack<T, 8>*>(tile + Tile::place(row_ + pass * kRowStep, chunk_)) = chunk;
      }
    }
  }

 private:
  __device__ __forceinline__ auto row(int pass, int outer) const {
    if constexpr (Operand::kKeepRows)
      return rows_[pass];
    else
      return operand_.row(outer + pass * kRowStep);
  }

  const Operand& operand_;
  int first_, end_;
  int row_, chunk_;
  typename Operand::Row rows_[Operand::kKeepRows ? kPasses : 1];
};

/// One warp's part of the tile.
template <class T, class Shape, bool kAInnerIsK, bool kBInnerIsK>
struct WarpSums {
  static constexpr int kTilesM = Shape::kWarpTileM / 16, kTilesN = Shape::kWarpTileN / 8;
  using TileA = SwizzledTile<T, kAInnerIsK ? Shape::kTileK : Shape::kTileM>;
  using TileB = SwizzledTile<T, kBInnerIsK ? Shape::kTileK : Shape::kTileN>;

  struct Fragments {
    gpu::FragmentA a[kTilesM];
    uint32_t b[kTilesN / 2][4];  ///< two FragmentB each
  };

  gpu::FragmentC sums[kTilesM][kTilesN] = {};
  int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  int first_m = warp / Shape::kWarpsN * Shape::kWarpTileM,
      first_n = warp % Shape::kWarpsN * Shape::kWarpTileN;

  /// Loads the warp's rows of a and columns of b at k .. k + 15 of the tile. A lane passes the address of one
  /// row of eight values; the order of the registers in core/gpu/mma.h decides which row.
  __device__ __forceinline__ void load(Fragments& to, const T* tile_a, const T* tile_b, int k) const {
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
      const int m = first_m + i * 16;
      if constexpr (kAInnerIsK)
        gpu::load_matrices(to.a[i].x, tile_a + TileA::place(m + lane % 16, k / 8 + lane / 16));
      else
        gpu::load_matrices<true>(to.a[i].x,
                                 tile_a + TileA::place(k + lane % 8 + lane / 16 * 8, m / 8 + lane / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < kTilesN / 2; ++i) {
      const int n = first_n + i * 16;
      if constexpr (kBInnerIsK)
        gpu::load_matrices(to.b[i],
                           tile_b + TileB::place(n + lane % 8 + lane / 16 * 8, k / 8 + lane / 8 % 2));
      else
        gpu::load_matrices<true>(to.b[i], tile_b + TileB::place(k + lane % 16, n / 8 + lane / 16));
    }
  }

  /// Adds the products of one pair of tiles; the fragments of the next 16 k are loaded meanwhile.
  __device__ __forceinline__ void multiply(const T* tile_a, const T* tile_b) {
    Fragments fragments[2];
    load(fragments[0], tile_a, tile_b, 0);
#pragma unroll
    for (int k = 0; k < Shape::kTileK; k += 16) {
      const Fragments& now = fragments[k / 16 % 2];
      if (k + 16 < Shape::kTileK) load(fragments[(k / 16 + 1) % 2], tile_a, tile_b, k + 16);
#pragma unroll
      for (int i = 0; i < kTilesM; ++i) {
#pragma unroll
        for (int j = 0; j < kTilesN; ++j) {
          const uint32_t* b = now.b[j / 2] + j % 2 * 2;
          gpu::mma<T>(sums[i][j], now.a[i], gpu::FragmentB{{b[0], b[1]}});
        }
      }
    }
  }

  /// Writes the sums to shared memory as rows: [kTileM][kSumStride].
  __device__ __forceinline__ void store(float* rows) const {
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
#pragma unroll
      for (int j = 0; j < kTilesN; ++j) {
        float* to = rows + (first_m + i * 16 + lane / 4) * Shape::kSumStride + first_n + j * 8 + lane % 4 * 2;
        const float(&x)[4] = sums[i][j].x;
        *reinterpret_cast<float2*>(to) = make_float2(x[0], x[1]);
        *reinterpret_cast<float2*>(to + 8 * Shape::kSumStride) = make_float2(x[2], x[3]);
      }
    }
  }
};

/// Grid: (tiles of c, splits of k, matrices). Each block reads (m + n) * k elements of its tile's rows and
/// columns, mostly from L2. Limited by tensor cores for 128 x 128 tiles and a long k, by L2 for 64 x 64.
template <class T, class Shape, bool kAnyLayout, class OperandA, class OperandB, class Output>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    gemm_mma(OperandA a, OperandB b, Output out, GemmProblem problem) {
  constexpr int kStages = Shape::kStages, kTileK = Shape::kTileK, kTileA = Shape::kTileM * kTileK;
  T* const shared = gpu::dynamic_shared<T>();
  problem.select_batch(a, b, out);
  const TilePlace place = tile_place<Shape::kTileM, Shape::kTileN>(problem);
  const int k_begin = int(blockIdx.y) * problem.k_per_split;
  const int k_end = min(problem.k, k_begin + problem.k_per_split);
  const int steps = ceil_div(k_end - k_begin, kTileK);
  const MmaReader<OperandA, Shape::kTileM, kTileK, Shape::kThreads, kAnyLayout> reader_a(a, place.m,
                                                                                         problem.m);
  const MmaReader<OperandB, Shape::kTileN, kTileK, Shape::kThreads, kAnyLayout> reader_b(b, place.n,
                                                                                         problem.n);
  WarpSums<T, Shape, OperandA::kInnerIsK, OperandB::kInnerIsK> sums;
  const bool has_work = place.m + sums.first_m < problem.m && place.n + sums.first_n < problem.n;

  // One group of copies per step, empty groups at the end, so that the count to wait for stays constant.
  const auto fetch = [&](int step) {
    if (step < steps) {
      T* const stage = shared + step % kStages * Shape::kStage;
      reader_a.fetch(stage, k_begin + step * kTileK, k_end);
      reader_b.fetch(stage + kTileA, k_begin + step * kTileK, k_end);
    }
    gpu::async_copy_commit();
  };
  for (int step = 0; step < kStages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    gpu::async_copy_wait<kStages - 2>();
    // Everyone sees the step's tiles and is done with the previous step's, which the next copies overwrite.
    __syncthreads();
    fetch(step + kStages - 1);
    const T* const stage = shared + step % kStages * Shape::kStage;
    if (has_work) sums.multiply(stage, stage + kTileA);
  }
  __syncthreads();

  // Through shared memory, so that neighbouring threads write neighbouring 16 bytes.
  float* const rows = gpu::dynamic_shared<float>();
  sums.store(rows);
  __syncthreads();
  constexpr int kRowThreads = Shape::kTileN / 8, kRowStep = Shape::kThreads / kRowThreads;
  const int column = int(threadIdx.x) % kRowThreads * 8, n = place.n + column;
  for (int row = int(threadIdx.x) / kRowThreads; row < Shape::kTileM; row += kRowStep) {
    const int m = place.m + row;
    if (m >= problem.m || n >= problem.n) break;
    out.store(problem, m, n,
              *reinterpret_cast<const Pack<float, 8>*>(rows + row * Shape::kSumStride + column));
  }
  if constexpr (Output::kMoments) {
    if (out.moments) MmaMoments<T, Shape>::gather(rows, out, problem, place.m, place.n);
  }
}

}  // namespace taper::ops
