#pragma once
// Finds misaligned accesses of kernels: loads and stores of N bytes at an address that is not a multiple of
// N. A real GPU faults on them and the process loses the device; x86 carries them out.
//
// Files with kernels are compiled with -fsanitize=alignment but not linked with its runtime. The compiler
// tests the address of every access against the alignment of its type. Where the test fails, it calls the
// functions in alignment.cpp. In builds with the undefined-behaviour sanitizer, that sanitizer reports
// instead. Where the type does not show what the instruction needs, the shim calls check_aligned.

#include <cstddef>
#include <cstdint>

#include "taper/core/gpu/sim/shim/thread.h"

namespace taper::gpu::sim {

/// Does what check_aligned does for a wrong address.
[[noreturn]] void misaligned(const char* access, const volatile void* address, size_t alignment,
                             const Where& where);

/// Ends the kernel with a report that names `access` and `where`, unless `address` is a multiple of
/// `alignment`. Outside kernels throws Error.
inline void check_aligned(const char* access, const volatile void* address, size_t alignment,
                          const Where& where) {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) [[unlikely]]
    misaligned(access, address, alignment, where);
}

}  // namespace taper::gpu::sim
