#pragma once
// Tensor cores: D = A B + D on the 16x8x16 tile of one warp, and the loads that feed it.
//
// A warp holds the tile spread over its 32 lanes ("fragments"). With g = lane / 4 and t = lane % 4 (PTX ISA,
// "Matrix Fragments for mma.m16n8k16"), a lane's registers hold
//
//   A, 16x16 (m, k)   x[0]: (g, 2t) (g, 2t+1)       x[1]: (g+8, 2t) (g+8, 2t+1)
//                     x[2]: (g, 2t+8) (g, 2t+9)     x[3]: (g+8, 2t+8) (g+8, 2t+9)
//   B, 16x8 (k, n)    x[0]: (2t, g) (2t+1, g)       x[1]: (2t+8, g) (2t+9, g)
//   C, 16x8 (m, n)    x[0]: (g, 2t)  x[1]: (g, 2t+1)  x[2]: (g+8, 2t)  x[3]: (g+8, 2t+1)
//
// two 16-bit values to a register in A and B, the first in the low half; one f32 in C. Every function here
// must be called by all 32 lanes of a warp together.

#include "taper/core/gpu/simt.h"

#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim/shim/mma.h"
#endif

namespace taper::gpu {

/// 16x16 values of __half or __nv_bfloat16.
struct FragmentA {
  uint32_t x[4];
};
/// 16x8 values of __half or __nv_bfloat16.
struct FragmentB {
  uint32_t x[2];
};
/// 16x8 sums in f32.
struct FragmentC {
  float x[4];
};

/// c += a b, with the products summed in f32. T: __half or __nv_bfloat16.
template <class T>
__device__ __forceinline__ void mma(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  static_assert(std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>);
#if TAPER_SIMULATED_GPU
  sim::mma<T>(c.x, a.x, b.x);
#else
  if constexpr (std::is_same_v<T, __half>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
  }
#endif
}

/// Loads `count` (1, 2 or 4) 8x8 matrices of 16-bit values from shared memory. Lane 8 i + r passes the
/// address of row r of matrix i, a multiple of 16; addresses of other lanes are ignored. Then x[i] holds row
/// g, columns 2t and 2t+1 of matrix i; with kTransposed, rows 2t and 2t+1 of column g.
#if TAPER_SIMULATED_GPU
template <bool kTransposed = false, int count>
void load_matrices(uint32_t (&x)[count], const void* shared_row,
                   const sim::Where& where = sim::Where::current()) {
  static_assert(count == 1 || count == 2 || count == 4, "ldmatrix loads 1, 2 or 4 matrices");
  sim::load_matrices(x, count, kTransposed, shared_row, where);
}
#else
template <bool kTransposed = false, int count>
__device__ __forceinline__ void load_matrices(uint32_t (&x)[count], const void* shared_row) {
  static_assert(count == 1 || count == 2 || count == 4, "ldmatrix loads 1, 2 or 4 matrices");
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
  if constexpr (count == 4 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
  } else if constexpr (count == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
  } else if constexpr (count == 2 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(x[0]), "=r"(x[1])
                 : "r"(address)
                 : "memory");
  } else if constexpr (count == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(x[0]), "=r"(x[1])
                 : "r"(address)
                 : "memory");
  } else if constexpr (!kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(x[0])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(x[0])
                 : "r"(address)
                 : "memory");
  }
}
#endif

}  // namespace taper::gpu
