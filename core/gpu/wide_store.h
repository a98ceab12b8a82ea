#pragma once
// Stores of 16 bytes by one instruction. For an assignment of 16 bytes the compiler usually emits one store,
// but up to five where it has moved some of the elements' computation elsewhere.

#include <cstring>

#include "taper/core/gpu/simt.h"

namespace taper::gpu {

/// Writes the 16-byte `value` to global memory; `address` is a multiple of 16.
#if TAPER_SIMULATED_GPU
template <class T>
void store_16_bytes(void* address, const T& value, const sim::Where& where = sim::Where::current()) {
  static_assert(sizeof(T) == 16);
  sim::check_aligned("store_16_bytes", address, 16, where);
  *static_cast<T*>(address) = value;
}
#else
template <class T>
__device__ __forceinline__ void store_16_bytes(void* address, const T& value) {
  static_assert(sizeof(T) == 16);
  uint4 bits;
  memcpy(&bits, &value, sizeof(bits));
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)),
               "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w)
               : "memory");
}
#endif

}  // namespace taper::gpu
