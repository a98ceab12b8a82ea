#pragma once
// Reading a row of memory with several threads, 16 bytes at a time. For .cu files only.

#include <cstdint>

#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

/// How many elements of `Stored` one load of 16 bytes holds.
template <class Stored>
inline constexpr int kRowPack = int(16 / sizeof(Stored));

/// Returns how many elements lie between x and the first 16-byte boundary, at most `count`.
template <class Stored>
__device__ __forceinline__ int64_t row_head(const Stored* x, int64_t count) {
  const int64_t past = int64_t(reinterpret_cast<uintptr_t>(x) % 16 / sizeof(Stored));
  const int64_t head = past == 0 ? 0 : kRowPack<Stored> - past;
  return head < count ? head : count;
}

/// Thread `lane` of `lanes` visits its share of the `count` elements from x on. Calls each(value, position)
/// for those before the first 16-byte boundary and after the last, and pack(values, position of the first)
/// for kRowPack neighbours. A thread has four packs in flight at once, which keeps memory busy.
template <class Stored, class Each, class PackBody>
__device__ __forceinline__ void visit_row(const Stored* x, int64_t count, int lane, int lanes, Each&& each,
                                          PackBody&& pack) {
  constexpr int kPack = kRowPack<Stored>, kInFlight = 4;
  using Packed = Pack<Stored, kPack>;
  const int64_t head = row_head(x, count);
  const int64_t packs = (count - head) / kPack, tail = head + packs * kPack;
  for (int64_t i = lane; i < head; i += lanes) each(x[i], i);
  const Packed* packed = reinterpret_cast<const Packed*>(x + head);
  int64_t i = lane;
  for (; i + int64_t(kInFlight - 1) * lanes < packs; i += int64_t(kInFlight) * lanes) {
    Packed loaded[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) loaded[k] = packed[i + k * lanes];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) pack(loaded[k].values, head + (i + k * lanes) * kPack);
  }
  for (; i < packs; i += lanes) {
    const Packed loaded = packed[i];
    pack(loaded.values, head + i * kPack);
  }
  for (i = tail + lane; i < count; i += lanes) each(x[i], i);
}

/// Thread `lane` of `lanes` visits its share of `count` elements that lie anywhere: use(load(i), i). A thread
/// has four loads in flight at once. A compiler that unrolls a loop of unknown step tests for its end between
/// the loads, and has only one in flight.
template <class Load, class Use>
__device__ __forceinline__ void visit_spread(int64_t count, int lane, int lanes, const Load& load,
                                             Use&& use) {
  constexpr int kInFlight = 4;
  int64_t i = lane;
  for (; i + int64_t(kInFlight - 1) * lanes < count; i += int64_t(kInFlight) * lanes) {
    decltype(load(i)) loaded[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) loaded[k] = load(i + k * lanes);
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) use(loaded[k], i + k * lanes);
  }
  for (; i < count; i += lanes) use(load(i), i);
}

}  // namespace taper::ops
