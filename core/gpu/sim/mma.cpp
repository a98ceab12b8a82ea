// Tensor core instructions and asynchronous copies of the simulated GPU (shim/mma.h).

#include "taper/core/gpu/sim/shim/mma.h"

#include <cstring>

#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/race.h"
#include "taper/core/gpu/sim/shim/alignment.h"
#include "taper/core/gpu/sim/shim/half.h"

namespace taper::gpu::sim {
namespace {

constexpr uint32_t kWholeWarp = 0xffffffffu;

/// Returns the low or high 16 bits of a register, as a float.
template <class T>
float element(uint32_t pair, int which) {
  return T::from_bits(pair >> 16 * which & 0xffff);
}

}  // namespace

template <class T>
void mma(float* c, const uint32_t* a, const uint32_t* b) {
  struct Lane {
    float* c;
    const uint32_t *a, *b;
  } lane{c, a, b};
  warp_collective(
      "mma", kWholeWarp, &lane,
      [](void* const* lanes, uint32_t members) {
        if (members != kWholeWarp) fault("mma needs all 32 lanes of the warp");
        float left[16][16], right[8][16];  // right: column by column
        for (int l = 0; l < 32; ++l) {
          const Lane& from = *static_cast<const Lane*>(lanes[l]);
          const int g = l / 4, t = l % 4;
          for (int r = 0; r < 4; ++r) {
            for (int i = 0; i < 2; ++i) left[g + r % 2 * 8][2 * t + r / 2 * 8 + i] = element<T>(from.a[r], i);
          }
          for (int r = 0; r < 2; ++r) {
            for (int i = 0; i < 2; ++i) right[g][2 * t + r * 8 + i] = element<T>(from.b[r], i);
          }
        }
        for (int l = 0; l < 32; ++l) {
          const Lane& to = *static_cast<const Lane*>(lanes[l]);
          for (int r = 0; r < 4; ++r) {
            const int m = l / 4 + r / 2 * 8, n = l % 4 * 2 + r % 2;
            float sum = to.c[r];
            for (int k = 0; k < 16; ++k) sum += left[m][k] * right[n][k];
            to.c[r] = sum;
          }
        }
      },
      Where::current());
}

template void mma<__half>(float*, const uint32_t*, const uint32_t*);
template void mma<__nv_bfloat16>(float*, const uint32_t*, const uint32_t*);

void load_matrices(uint32_t* x, int count, bool transposed, const void* shared_row, const Where& where) {
  struct Lane {
    uint32_t* x;
    int count;
    bool transposed;
    const void* row;
  } lane{x, count, transposed, shared_row};
  if (lane_id() < 8 * count) check_aligned("load_matrices", shared_row, 16, where);
  if (kFindRaces && lane_id() < 8 * count) race::watch(shared_row, 16, false, __builtin_return_address(0));
  warp_collective(
      "ldmatrix", kWholeWarp, &lane,
      [](void* const* lanes, uint32_t members) {
        if (members != kWholeWarp) fault("ldmatrix needs all 32 lanes of the warp");
        const Lane& first = *static_cast<const Lane*>(lanes[0]);
        for (int i = 0; i < first.count; ++i) {
          uint16_t matrix[8][8];
          for (int row = 0; row < 8; ++row)
            std::memcpy(matrix[row], static_cast<const Lane*>(lanes[8 * i + row])->row, 16);
          for (int l = 0; l < 32; ++l) {
            const int g = l / 4, t = l % 4;
            const uint16_t low = first.transposed ? matrix[2 * t][g] : matrix[g][2 * t];
            const uint16_t high = first.transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
            static_cast<const Lane*>(lanes[l])->x[i] = static_cast<uint32_t>(high) << 16 | low;
          }
        }
      },
      where);
}

void async_copy(void* shared, const void* global, size_t size_bytes, size_t valid_bytes, const Where& where) {
  check_aligned("async_copy to", shared, size_bytes, where);
  check_aligned("async_copy from", global, size_bytes, where);
  BlockRunner::active()->async_copies().pending.push_back({shared, global, size_bytes, valid_bytes});
}

void async_copy_commit() {
  AsyncCopies& copies = BlockRunner::active()->async_copies();
  copies.group_ends.push_back(copies.pending.size());
}

void async_copy_wait(int groups_in_flight) {
  AsyncCopies& copies = BlockRunner::active()->async_copies();
  const auto kept = static_cast<size_t>(groups_in_flight);
  if (copies.group_ends.size() <= kept) return;
  const size_t finished_groups = copies.group_ends.size() - kept;
  const size_t finished = copies.group_ends[finished_groups - 1];
  for (size_t i = 0; i < finished; ++i) {
    const AsyncCopies::Copy& copy = copies.pending[i];
    if constexpr (kFindRaces) {
      race::watch(copy.global, copy.valid_bytes, false, __builtin_return_address(0));
      race::watch(copy.shared, copy.size_bytes, true, __builtin_return_address(0));
    }
    std::memcpy(copy.shared, copy.global, copy.valid_bytes);
    std::memset(static_cast<char*>(copy.shared) + copy.valid_bytes, 0, copy.size_bytes - copy.valid_bytes);
  }
  copies.pending.erase(copies.pending.begin(),
                       copies.pending.begin() + static_cast<std::ptrdiff_t>(finished));
  copies.group_ends.erase(copies.group_ends.begin(),
                          copies.group_ends.begin() + static_cast<std::ptrdiff_t>(finished_groups));
  for (size_t& end : copies.group_ends) end -= finished;
}

}  // namespace taper::gpu::sim
