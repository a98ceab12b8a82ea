#pragma once
// One program runs on every x86-64 CPU. Its CPU kernels are compiled once for each of a few levels of
// instruction sets (ops/cpu_levels/), and the level is chosen when the program runs.

#include <cstdint>
#include <string_view>

namespace taper {

/// Instruction sets that a CPU and its operating system have. Each level includes those before it.
enum class CpuLevel : uint8_t {
  kBaseline,    ///< what every CPU has that Taper is compiled for
  kAvx2,        ///< x86-64-v3: AVX2, FMA, F16C
  kAvx512,      ///< x86-64-v4: AVX-512 F, BW, CD, DQ, VL
  kAvx512Bf16,  ///< dot products of bf16
  kAmx,         ///< matrix tiles of bf16
};

/// Returns the best level of this CPU, or the lower one that the environment variable TAPER_CPU names. Decided
/// once. Throws Error if TAPER_CPU names no level, one that this CPU lacks, or less than a build for one CPU
/// (TAPER_MARCH) needs.
CpuLevel cpu_level();

/// Returns the word for TAPER_CPU: baseline, avx2, avx512, avx512-bf16 or amx.
std::string_view name(CpuLevel level);

}  // namespace taper
