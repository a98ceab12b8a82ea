#pragma once
// What a kernel thread sees of the machine: its indices, barriers, and the exchanges within a warp.
//
// The host compiler compiles kernels. A thread of a block is a plain call of the kernel function on a fiber
// (block.h). All functions here may be called only from inside a kernel. Where CUDA leaves behaviour
// undefined (a barrier that not every thread reaches, a shuffle from a lane that does not take part) the
// launch fails with a report.

#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "taper/core/gpu/sim/shim/vector_types.h"

// The indices live in thread-local variables that are set whenever a fiber is resumed, because a block runs
// on one OS thread.
inline thread_local constinit uint3 threadIdx{0, 0, 0};
inline thread_local constinit uint3 blockIdx{0, 0, 0};
inline thread_local constinit dim3 blockDim{1, 1, 1};
inline thread_local constinit dim3 gridDim{1, 1, 1};
constexpr int warpSize = 32;

namespace taper::gpu::sim {

using Where = std::source_location;

/// Waits until every thread of the block has called this from the same place. Returns for how many threads
/// `predicate` held.
int block_barrier(bool predicate, const Where& where);

/// Combines the data of the lanes of one warp: lanes[i] is lane i's data, null if its bit is not in
/// `members`.
using Combine = void (*)(void* const* lanes, uint32_t members);

/// Waits until every lane in `mask` that has not returned calls this with the same mask and combine function.
/// The last lane to arrive calls `combine` once for all. Reports name `intrinsic`.
void warp_collective(const char* intrinsic, uint32_t mask, void* data, Combine combine, const Where& where);

/// Returns this thread's lane in its warp, 0 to 31.
int lane_id();

/// Lets the other threads of the block run.
void yield_thread();

/// Ends the kernel. The launch fails with `message`, the kernel's name, this block and this thread.
[[noreturn]] void fault(const char* message);

/// Returns the block's dynamic shared memory, aligned to 128 bytes.
void* dynamic_shared_memory();

/// Exchanges a T among `count` lanes: lane i receives what lane source(i) brought.
template <class T>
T shuffle(const char* intrinsic, uint32_t mask, T value, int source, const Where& where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>,
                "a shuffle moves values of at most 8 bytes");
  struct Lane {
    uint64_t brought = 0, received = 0;
    int source = 0;
  } lane;
  std::memcpy(&lane.brought, &value, sizeof(T));
  lane.source = source;
  warp_collective(
      intrinsic, mask, &lane,
      [](void* const* lanes, uint32_t members) {
        for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
          Lane& to = *static_cast<Lane*>(lanes[__builtin_ctz(rest)]);
          const auto* from = static_cast<const Lane*>(lanes[to.source]);
          if (from == nullptr) fault("a shuffle reads a lane that is not in its mask or has returned");
          to.received = from->brought;
        }
      },
      where);
  std::memcpy(&value, &lane.received, sizeof(T));
  return value;
}

}  // namespace taper::gpu::sim

// ------------------------------------------------------------------------------------------------ the block

inline void __syncthreads(taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::block_barrier(false, where);
}

inline int __syncthreads_count(int predicate,
                               taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::block_barrier(predicate != 0, where);
}

inline int __syncthreads_or(int predicate, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::block_barrier(predicate != 0, where) != 0;
}

inline int __syncthreads_and(int predicate,
                             taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return taper::gpu::sim::block_barrier(predicate == 0, where) == 0;
}

// ------------------------------------------------------------------------------------------------- the warp

inline void __syncwarp(unsigned mask = 0xffffffffu,
                       taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::warp_collective(
      "__syncwarp", mask, nullptr, [](void* const*, uint32_t) {}, where);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  const int first = taper::gpu::sim::lane_id() & ~(width - 1);
  return taper::gpu::sim::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), where);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  const int lane = taper::gpu::sim::lane_id(), from = lane - static_cast<int>(delta);
  return taper::gpu::sim::shuffle("__shfl_up_sync", mask, value, from < (lane & ~(width - 1)) ? lane : from,
                                  where);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  const int lane = taper::gpu::sim::lane_id(), from = lane + static_cast<int>(delta);
  return taper::gpu::sim::shuffle("__shfl_down_sync", mask, value, from > (lane | (width - 1)) ? lane : from,
                                  where);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  // As PTX shfl.bfly: for a source beyond the lane's segment of `width` lanes, returns the lane's own value.
  const int lane = taper::gpu::sim::lane_id(), from = lane ^ lane_mask;
  return taper::gpu::sim::shuffle("__shfl_xor_sync", mask, value, from > (lane | (width - 1)) ? lane : from,
                                  where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  struct Lane {
    bool predicate;
    uint32_t votes;
  } lane{predicate != 0, 0};
  taper::gpu::sim::warp_collective(
      "__ballot_sync", mask, &lane,
      [](void* const* lanes, uint32_t members) {
        uint32_t votes = 0;
        for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
          const int i = __builtin_ctz(rest);
          votes |= static_cast<uint32_t>(static_cast<const Lane*>(lanes[i])->predicate) << i;
        }
        for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
          static_cast<Lane*>(lanes[__builtin_ctz(rest)])->votes = votes;
        }
      },
      where);
  return lane.votes;
}

inline int __any_sync(unsigned mask, int predicate,
                      taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}

inline int __all_sync(unsigned mask, int predicate,
                      taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  return __ballot_sync(mask, predicate == 0, where) == 0;
}

/// CUDA guarantees only that the mask has the caller's own lane, and so does the simulated GPU.
inline unsigned __activemask() {
  return 1u << taper::gpu::sim::lane_id();
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value,
                          taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  struct Lane {
    uint64_t value = 0;
    uint32_t peers = 0;
  } lane;
  std::memcpy(&lane.value, &value, sizeof(T));
  taper::gpu::sim::warp_collective(
      "__match_any_sync", mask, &lane,
      [](void* const* lanes, uint32_t members) {
        for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
          Lane& mine = *static_cast<Lane*>(lanes[__builtin_ctz(rest)]);
          for (uint32_t others = members; others != 0; others &= others - 1) {
            const int i = __builtin_ctz(others);
            mine.peers |= static_cast<uint32_t>(static_cast<const Lane*>(lanes[i])->value == mine.value) << i;
          }
        }
      },
      where);
  return lane.peers;
}

template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all_equal,
                          taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  const unsigned peers = __match_any_sync(mask, value, where);
  const unsigned votes = __ballot_sync(mask, 1, where);
  *all_equal = __all_sync(mask, peers == votes, where);
  return *all_equal ? votes : 0;
}

namespace taper::gpu::sim {

template <class T, class Operation>
T warp_reduce(const char* intrinsic, uint32_t mask, T value, const Where& where) {
  warp_collective(
      intrinsic, mask, &value,
      [](void* const* lanes, uint32_t members) {
        T total = *static_cast<T*>(lanes[__builtin_ctz(members)]);
        for (uint32_t rest = members & (members - 1); rest != 0; rest &= rest - 1) {
          total = Operation()(total, *static_cast<T*>(lanes[__builtin_ctz(rest)]));
        }
        for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
          *static_cast<T*>(lanes[__builtin_ctz(rest)]) = total;
        }
      },
      where);
  return value;
}

// Integer sums wrap around, as on the device.
struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  }
};
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};

}  // namespace taper::gpu::sim

// clang-format off
#define TAPER_WARP_REDUCE(name, type, operation)                                                                   \
  inline type name(unsigned mask, type value, taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {  \
    return taper::gpu::sim::warp_reduce<type, taper::gpu::sim::operation>(#name, mask, value, where);              \
  }
TAPER_WARP_REDUCE(__reduce_add_sync, int, Add)
TAPER_WARP_REDUCE(__reduce_add_sync, unsigned, Add)
TAPER_WARP_REDUCE(__reduce_min_sync, int, Min)
TAPER_WARP_REDUCE(__reduce_min_sync, unsigned, Min)
TAPER_WARP_REDUCE(__reduce_max_sync, int, Max)
TAPER_WARP_REDUCE(__reduce_max_sync, unsigned, Max)
TAPER_WARP_REDUCE(__reduce_and_sync, unsigned, And)
TAPER_WARP_REDUCE(__reduce_or_sync, unsigned, Or)
TAPER_WARP_REDUCE(__reduce_xor_sync, unsigned, Xor)
#undef TAPER_WARP_REDUCE
// clang-format on
