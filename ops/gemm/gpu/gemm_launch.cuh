#pragma once  // spine 38 (docs/0-the-spine.md)
// Launching the main loops: how many blocks, and whether k is split. For .cu files only.
//
// Where c has too few tiles for the device, k is cut into parts: a convolution's weight gradient, for
// example, is a small matrix with a sum over every pixel. Each part's blocks write their sums to a workspace
// from the caching allocator. A second kernel adds them in the order of the parts: the same bits every time.

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/dtype.h"
#include "taper/ops/gemm/gpu/gemm.h"
#include "taper/ops/gemm/gpu/gemm_mma.cuh"
#include "taper/ops/gemm/gpu/gemm_operands.cuh"
#include "taper/ops/gemm/gpu/gemm_simt.cuh"
#include "taper/ops/gemm/gpu/gemm_splits.h"

namespace taper::ops {

/// Returns the number of parts of k for `tiles` blocks, if a multiprocessor holds `resident` blocks at once.
inline int64_t split_count(int64_t tiles, int resident, int64_t k, int tile_k) {
  constexpr int64_t kFewestSteps = 16;  // of a part: fewer are not worth its write and read
  const int64_t slots = int64_t(gpu::properties().multiprocessors) * resident;
  const int64_t wanted = slots / std::max<int64_t>(tiles, 1);
  return std::clamp<int64_t>(std::min(wanted, k / (tile_k * kFewestSteps)), 1, 1024);
}

/// Launches `kernel` (a main loop with Shape's tile) over all tiles, splits and matrices. Only k may be 0.
/// Returns what a MomentsOutput gathers, in chunks of kRowsPerChunk rows; nothing where k is split.
template <class Shape, int kRowsPerChunk, class A, class B, class Output>
PartialMoments launch_gemm(const char* name, void (*kernel)(A, B, Output, GemmProblem), const A& a,
                           const B& b, Output out, const GemmSizes& sizes) {
  using T = typename Output::Element;
  constexpr int64_t kMaxGridZ = 65535;
  GemmProblem problem{.m = int(sizes.m),
                      .n = int(sizes.n),
                      .k = int(sizes.k),
                      .batch_inner = FastDivisor(uint32_t(sizes.batch_inner)),
                      .batches = sizes.batches()};
  const int64_t tiles = ceil_div(sizes.m, Shape::kTileM) * ceil_div(sizes.n, Shape::kTileN);
  const int64_t parts = split_count(tiles * sizes.batches(), Shape::kResident, sizes.k, Shape::kTileK);
  problem.k_per_split = int(ceil_div(ceil_div(sizes.k, parts), Shape::kTileK) * Shape::kTileK);
  const int64_t splits = sizes.k > 0 ? ceil_div(sizes.k, problem.k_per_split) : 1;
  SumOf<T>* const unrounded = out.partial;
  Tensor workspace;
  if (splits > 1) {
    workspace = empty({splits, sizes.batches(), sizes.m, sizes.n},
                      {.dtype = dtype_of<SumOf<T>>, .device = Device(kCUDA, gpu::current_device())});
    out.partial = workspace.data<SumOf<T>>();
  }
  PartialMoments moments;
  if constexpr (Output::kMoments) {
    if (splits == 1) {
      moments = {empty({ceil_div(sizes.m, kRowsPerChunk), 2, out.columns},
                       {.dtype = dtype_of<SumOf<T>>, .device = Device(kCUDA, gpu::current_device())}),
                 kRowsPerChunk};
      out.moments = moments.chunks.data<SumOf<T>>();
    }
  }
  for (; problem.first_batch < problem.batches; problem.first_batch += kMaxGridZ) {
    const int64_t batches = std::min(problem.batches - problem.first_batch, kMaxGridZ);
    gpu::launch(name, kernel,
                {.grid = dim3(unsigned(tiles), unsigned(splits), unsigned(batches)),
                 .block = Shape::kThreads,
                 .dynamic_shared_bytes = Shape::kSharedBytes},
                a, b, out, problem);
  }
  if (splits == 1) return moments;
  if (unrounded != nullptr) {
    const int64_t matrix = sizes.m * sizes.n;
    finish_splits<SumOf<T>>({.data = unrounded,
                             .rows = {.image_stride = sizes.n},
                             .batch = {sizes.batch_inner * matrix, matrix},
                             .partial = out.partial},
                            problem, splits);
  } else {
    finish_splits<T>(out, problem, splits);
  }
  return moments;
}

/// Whether to take large tiles: by default, if they reach not far beyond c and are enough to fill the device.
template <class Shape>
bool is_worth(const GemmSizes& sizes, GemmTiles asked) {
  if (asked != GemmTiles::kUsual) return asked == GemmTiles::kLarge;
  const int64_t count = ceil_div(sizes.m, Shape::kTileM) * ceil_div(sizes.n, Shape::kTileN) * sizes.batches();
  return 2 * sizes.m > Shape::kTileM && 2 * sizes.n > Shape::kTileN &&
         count >= Shape::kResident * gpu::properties().multiprocessors;
}

/// The product on ordinary cores (f32, f64) or tensor cores (f16, bf16). Launches nothing if c is empty.
/// Output: GemmOutput, or MomentsOutput, whose moments are returned.
template <class A, class B, class Output>
PartialMoments launch_main_loop(const char* name, const A& a, const B& b, const Output& out,
                                const GemmSizes& sizes, GemmTiles tiles) {
  using T = typename Output::Element;
  if (sizes.m == 0 || sizes.n == 0 || sizes.batches() == 0) return {};
  const auto launch = [&]<class Shape>(void (*kernel)(A, B, Output, GemmProblem)) {
    constexpr bool kSimt = std::is_same_v<SumOf<T>, T>;
    using Moments = std::conditional_t<kSimt, SimtMoments<T, Shape>, MmaMoments<T, Shape>>;
    return launch_gemm<Shape, Moments::kRows>(name, kernel, a, b, out, sizes);
  };
  if constexpr (std::is_same_v<T, double>) {
    using Shape = SimtShape<T, 64, 64, 16, 2>;
    return launch.template operator()<Shape>(gemm_simt<T, Shape, A, B, Output>);
  } else if constexpr (std::is_same_v<T, float>) {
    using Large = SimtShape<T, 128, 128, 16, 1>;
    using Small = SimtShape<T, 64, 64, 16, 4>;
    if (is_worth<Large>(sizes, tiles))
      return launch.template operator()<Large>(gemm_simt<T, Large, A, B, Output>);
    return launch.template operator()<Small>(gemm_simt<T, Small, A, B, Output>);
  } else {
    using Large = MmaShape<128, 128, 2, 2, 3, 2>;
    using Small = MmaShape<64, 64, 2, 2, 3, 3>;
    if (!a.vectors || !b.vectors) {
      return launch.template operator()<Small>(gemm_mma<T, Small, true, A, B, Output>);
    }
    if (is_worth<Large>(sizes, tiles))
      return launch.template operator()<Large>(gemm_mma<T, Large, false, A, B, Output>);
    return launch.template operator()<Small>(gemm_mma<T, Small, false, A, B, Output>);
  }
}

}  // namespace taper::ops
