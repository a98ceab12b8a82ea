#pragma once
// The kernels of all reductions, for any reducer. For .cu files only.
//
// The tensor is seen as a matrix of kept by reduced elements. Where the reduced ones lie closer in memory, a
// group of threads folds each row: 1 to 32 threads for short rows, a block for long ones. Where the kept ones
// do, each thread folds four columns, and a warp reads them side by side. If that gives too few blocks to
// fill the device, the reduced side is cut into pieces, whose states a second kernel merges. The cut depends
// on shape and device alone, so results repeat to the bit. PyTorch's counterpart:
// ATen/native/cuda/Reduce.cuh.
//
// A reducer says what is done with the values of a tensor of `Stored`:
//   State start()                            the state of no values
//   State add(State, Stored, int64_t at)     adds one value, at index `at` of the reduced elements
//   State add_pack(State, values)            adds kRowPack values otherwise than one by one
//   State merge(State, State)                merges two states, in any order
//   void finish(State, int64_t output)       writes the result to element `output` of the output(s)

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/copy/walk_gpu.cuh"
#include "taper/ops/reduce/block_reduce.cuh"
#include "taper/ops/reduce/row_gpu.cuh"

namespace taper::ops {

inline constexpr unsigned kReduceBlock = 256;  // threads
inline constexpr int kReduceColumns = 4;       // of one thread
inline constexpr int kReduceBlocks = 2;        // on a multiprocessor, at least: their registers must fit

/// What both kernels take.
template <class Stored, class State>
struct ReduceTask {
  const Stored* x = nullptr;
  GpuWalk<2> kept;          ///< operands: x, out
  GpuWalk<1> reduced;       ///< operand: x
  bool in_rows = false;     ///< rows: the reduced side lies in memory without gaps
  bool in_packs = false;    ///< columns: four neighbours can be read at once
  int lanes = 1;            ///< rows: threads that share one; columns: threads side by side
  int pieces = 1;           ///< number of pieces of the reduced side
  int64_t piece_size = 0;   ///< reduced elements in each piece; the last may be shorter
  State* states = nullptr;  ///< [kept, pieces], if there is more than one piece
};

template <class Stored, class Reducer>
__device__ __forceinline__ void store_state(const ReduceTask<Stored, typename Reducer::State>& task,
                                            const Reducer& reducer, int64_t kept, int piece,
                                            typename Reducer::State state) {
  if (task.pieces > 1) {
    task.states[kept * task.pieces + piece] = state;
  } else {
    reducer.finish(state, task.kept.offset(kept, 1));
  }
}

/// Adds `values` to `state`; the first is at index `at` of the reduced elements.
template <class Reducer, class State, class Stored, int kCount>
__device__ __forceinline__ State add_values(const Reducer& reducer, State state,
                                            const Stored (&values)[kCount], int64_t at) {
  if constexpr (requires { reducer.add_pack(state, values); }) {
    return reducer.add_pack(state, values);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) state = reducer.add(state, values[i], at + i);
    return state;
  }
}

/// A block of 256 threads folds 256 / lanes rows, or one piece of one row; grid: (row groups, pieces). Reads
/// every element once, 16 bytes a load where rows are contiguous. Limited by memory bandwidth.
template <class Stored, class Reducer>
__global__ void __launch_bounds__(kReduceBlock, kReduceBlocks)
    reduce_rows(ReduceTask<Stored, typename Reducer::State> task, Reducer reducer) {
  const int lane = int(threadIdx.x) % task.lanes;
  const int64_t kept =
      blockIdx.x * int64_t(blockDim.x / unsigned(task.lanes)) + threadIdx.x / unsigned(task.lanes);
  const int64_t first = blockIdx.y * task.piece_size;
  const int64_t count = min(task.piece_size, task.reduced.numel - first);
  typename Reducer::State state = reducer.start();
  if (kept < task.kept.numel) {
    const Stored* row = task.x + task.kept.offset(kept);
    if (task.in_rows) {
      visit_row(
          row + first, count, lane, task.lanes,
          [&](Stored value, int64_t i) { state = reducer.add(state, value, first + i); },
          [&](const Stored(&values)[kRowPack<Stored>], int64_t i) {
            state = add_values(reducer, state, values, first + i);
          });
    } else {
      visit_spread(
          count, lane, task.lanes, [&](int64_t i) { return row[task.reduced.offset(first + i)]; },
          [&](Stored value, int64_t i) { state = reducer.add(state, value, first + i); });
    }
  }
  const auto merge = [&](auto a, auto b) { return reducer.merge(a, b); };
  if (task.lanes > kWarp) {
    state = block_reduce(state, merge);
  } else {
    state = fold_lanes(state, task.lanes, merge);
  }
  if (lane == 0 && kept < task.kept.numel) store_state(task, reducer, kept, int(blockIdx.y), state);
}

/// A block of `lanes` x 256 / lanes threads folds 4 * lanes columns. A thread folds every (256 / lanes)-th
/// row of its four columns, and the block's rows meet in shared memory. Grid: (column groups, pieces). Reads
/// every element once, 4 elements a load where columns are contiguous. Limited by memory bandwidth.
template <class Stored, class Reducer>
__global__ void __launch_bounds__(kReduceBlock, kReduceBlocks)
    reduce_columns(ReduceTask<Stored, typename Reducer::State> task, Reducer reducer) {
  using State = typename Reducer::State;
  constexpr int kColumns = kReduceColumns, kInFlight = 4;
  const int lane = int(threadIdx.x) % task.lanes, row_lane = int(threadIdx.x) / task.lanes;
  const int row_lanes = int(blockDim.x) / task.lanes;
  const int64_t first_column = blockIdx.x * int64_t(task.lanes * kColumns);
  const int64_t begin = blockIdx.y * task.piece_size;
  const int64_t end = min(begin + task.piece_size, task.reduced.numel);
  // A thread's columns are neighbours where they can be loaded at once; else the columns of a warp's lanes
  // are.
  const int64_t column = first_column + (task.in_packs ? lane * kColumns : lane);
  const int step = task.in_packs ? 1 : task.lanes;
  State states[kColumns];
  const Stored* columns[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    states[c] = reducer.start();
    // Threads past the last column read the last ones again.
    const int64_t last = task.kept.numel - (task.in_packs ? kColumns - c : 1);
    columns[c] = task.x + task.kept.offset(min(column + c * step, last));
  }
  for (int64_t row = begin + row_lane; row < end; row += int64_t(kInFlight) * row_lanes) {
    Pack<Stored, kColumns> loaded[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      const int64_t at = row + k * row_lanes;
      if (at >= end) continue;
      const int64_t offset = task.reduced.offset(at);
      if (task.in_packs) {
        loaded[k] = *reinterpret_cast<const Pack<Stored, kColumns>*>(columns[0] + offset);
      } else {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) loaded[k].values[c] = columns[c][offset];
      }
    }
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      const int64_t at = row + k * row_lanes;
      if (at >= end) continue;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) states[c] = reducer.add(states[c], loaded[k].values[c], at);
    }
  }
  __shared__ __align__(16) unsigned char storage[kReduceBlock * kColumns * sizeof(State)];
  State* of_thread = reinterpret_cast<State*>(storage) + threadIdx.x;
  for (int half = row_lanes / 2; half > 0; half /= 2) {
    if (row_lane >= half && row_lane < 2 * half) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) of_thread[c * int(kReduceBlock)] = states[c];
    }
    __syncthreads();
    if (row_lane < half) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        states[c] = reducer.merge(states[c], of_thread[half * task.lanes + c * int(kReduceBlock)]);
      }
    }
  }
  if (row_lane > 0) return;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int64_t kept = column + c * step;
    if (kept < task.kept.numel) store_state(task, reducer, kept, int(blockIdx.y), states[c]);
  }
}

/// One warp merges the pieces of one output, 8 warps to a block: one state read for each piece. Limited by
/// latency.
template <class Stored, class Reducer>
__global__ void __launch_bounds__(kReduceBlock)
    merge_pieces(ReduceTask<Stored, typename Reducer::State> task, Reducer reducer) {
  const int64_t kept = blockIdx.x * int64_t(kReduceBlock / kWarp) + threadIdx.x / kWarp;
  typename Reducer::State state = reducer.start();
  if (kept < task.kept.numel) {
    for (int piece = int(threadIdx.x % kWarp); piece < task.pieces; piece += kWarp) {
      state = reducer.merge(state, task.states[kept * task.pieces + piece]);
    }
  }
  state = warp_reduce(state, [&](auto a, auto b) { return reducer.merge(a, b); });
  if (threadIdx.x % kWarp == 0 && kept < task.kept.numel) {
    reducer.finish(state, task.kept.offset(kept, 1));
  }
}

// ------------------------------------------------------------------------------------------ launching

/// Kept and reduced dimensions of x; out has x's shape with size 1 in `axes`.
struct ReduceDims {
  ReduceDims(const Tensor& x, const Tensor& out, const Dims& axes)
      : kept(std::array{&x, &out}, others(x, axes)), reduced(std::array{&x}, axes) {}
  StridedLoop kept, reduced;

 private:
  static Dims others(const Tensor& x, const Dims& axes) {
    Dims result;
    for (int64_t axis = 0; axis < x.dim(); ++axis) {
      if (!axes.contains(axis)) result.push_back(axis);
    }
    return result;
  }
};

/// Returns the smallest power of two >= n, at most `limit` (itself a power of two).
inline int power_of_two(int64_t n, int limit) {
  int result = 1;
  while (result < n && result < limit) result *= 2;
  return result;
}

/// Reduces x over `axes`. `out` is any of the outputs, and gives their strides.
template <class Stored, class Reducer>
void launch_reduction(const char* name, const Tensor& x, const Tensor& out, const Dims& axes,
                      const Reducer& reducer) {
  using State = typename Reducer::State;
  const ReduceDims dims(x, out, axes);
  ReduceTask<Stored, State> task;
  task.x = static_cast<const Stored*>(x.data_ptr());
  task.kept = GpuWalk<2>(dims.kept);
  task.reduced = GpuWalk<1>(dims.reduced);
  const int64_t outputs = dims.kept.numel, length = dims.reduced.numel;
  const int64_t kept_step = outputs == 1 ? INT64_MAX : dims.kept.operands[0].strides.back();
  const int64_t reduced_step = length == 1 ? INT64_MAX : dims.reduced.operands[0].strides.back();
  const bool by_rows = reduced_step <= kept_step;

  const int64_t wanted_blocks = gpu::properties().multiprocessors * 8;
  int64_t groups, longest_piece;  // blocks along the kept side; how much one block folds without being slow
  if (by_rows) {
    task.in_rows = dims.reduced.shape.size() == 1 && (reduced_step == 1 || length == 1);
    const int64_t loads = task.in_rows ? length / kRowPack<Stored> : length;
    task.lanes = loads > 8 * kWarp ? int(kReduceBlock) : power_of_two(loads, kWarp);
    const int64_t rows_at_once = int64_t(kReduceBlock) / task.lanes;
    groups = ceil_div(outputs, rows_at_once);
    longest_piece =
        task.lanes <= kWarp ? length : int64_t(kReduceBlock) * 4 * (task.in_rows ? kRowPack<Stored> : 1);
  } else {
    const StridedLoop& kept = dims.kept;
    const int64_t inner = kept.shape.size() - 1;
    const size_t pack_bytes = std::min<size_t>(kReduceColumns * sizeof(Stored), 16);
    const auto even = [&](int64_t stride) {
      return stride * int64_t(sizeof(Stored)) % int64_t(pack_bytes) == 0;
    };
    task.in_packs = kept_step == 1 && kept.shape[inner] % kReduceColumns == 0 &&
                    reinterpret_cast<uintptr_t>(x.data_ptr()) % pack_bytes == 0;
    for (int64_t axis = 0; axis < inner; ++axis) task.in_packs &= even(kept.operands[0].strides[axis]);
    for (const int64_t stride : dims.reduced.operands[0].strides)
      task.in_packs &= length == 1 || even(stride);
    task.lanes = power_of_two(ceil_div(outputs, kReduceColumns), kWarp);
    groups = ceil_div(outputs, task.lanes * kReduceColumns);
    longest_piece = int64_t(kReduceBlock) / task.lanes * 16;
  }
  constexpr int64_t kMaxPieces = 4096;  // also below the grid's limit
  const int64_t most = length > longest_piece ? std::min(ceil_div(length, longest_piece), kMaxPieces) : 1;
  task.pieces = int(std::clamp<int64_t>(wanted_blocks / groups, 1, most));
  task.piece_size = ceil_div(length, task.pieces);
  // Pieces begin where aligned loads do.
  task.piece_size = round_up(task.piece_size, kRowPack<Stored>);
  Tensor states;
  if (task.pieces > 1) {
    states = empty({outputs * task.pieces * int64_t(sizeof(State))}, {.dtype = kUInt8, .device = x.device()});
    task.states = static_cast<State*>(states.data_ptr());
  }
  gpu::launch(name, by_rows ? reduce_rows<Stored, Reducer> : reduce_columns<Stored, Reducer>,
              {.grid = dim3(unsigned(groups), unsigned(task.pieces)), .block = kReduceBlock}, task, reducer);
  if (task.pieces > 1) {
    const int64_t warps = int64_t(kReduceBlock) / kWarp;
    gpu::launch("merge_pieces", merge_pieces<Stored, Reducer>,
                {.grid = unsigned(ceil_div(outputs, warps)), .block = kReduceBlock}, task, reducer);
  }
}

}  // namespace taper::ops
