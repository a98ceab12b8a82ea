#include "taper/core/base/cpu_level.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdlib>
#include <initializer_list>

#include "taper/core/base/error.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace taper {
namespace {

constexpr std::array<std::string_view, 5> kLevelNames = {"baseline", "avx2", "avx512", "avx512-bf16", "amx"};

#ifdef __x86_64__

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// Returns zeros for a leaf that the CPU does not have.
Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers result;
  __get_cpuid_count(leaf, subleaf, &result.eax, &result.ebx, &result.ecx, &result.edx);
  return result;
}

bool has(unsigned flags, std::initializer_list<int> bits) {
  for (const int bit : bits) {
    if ((flags >> bit & 1) == 0) return false;
  }
  return true;
}

/// Linux saves tiles only for processes that have asked for it (Documentation/arch/x86/xstate.rst).
bool allow_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Intel's manual, volume 2, CPUID. The compiler's __builtin_cpu_supports also looks whether the operating
/// system saves the vectors' registers, but not every compiler knows every name.
CpuLevel best_level() {
  __builtin_cpu_init();
  const unsigned basic = cpuid(1).ecx, extended = cpuid(0x80000001).ecx;
  const bool f16c_movbe = has(basic, {22, 29}), lzcnt = has(extended, {5});
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2") && f16c_movbe && lzcnt)) {
    return CpuLevel::kBaseline;
  }
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))) {
    return CpuLevel::kAvx2;
  }
  const unsigned features = cpuid(7).edx;
  if (!has(cpuid(7, 1).eax, {5})) return CpuLevel::kAvx512;
  if (!has(features, {22, 24}) || !allow_tiles()) return CpuLevel::kAvx512Bf16;
  return CpuLevel::kAmx;
}

#else

CpuLevel best_level() {
  return CpuLevel::kBaseline;
}

#endif

/// What all code may use: more than the baseline in a build for one CPU (TAPER_MARCH).
constexpr CpuLevel kBuiltFor =
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    CpuLevel::kAvx512;
#elif defined(__AVX2__)
    CpuLevel::kAvx2;
#else
    CpuLevel::kBaseline;
#endif

CpuLevel choose_level() {
  const CpuLevel best = best_level();
  const char* const wanted = std::getenv("TAPER_CPU");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] != wanted) continue;
    TAPER_CHECK(CpuLevel(i) <= best, "TAPER_CPU: '{}' is more than this CPU has, which is {}", wanted,
                name(best));
    TAPER_CHECK(CpuLevel(i) >= kBuiltFor,
                "TAPER_CPU: '{}' is less than this program was built for, which is {}; build it without "
                "-DTAPER_MARCH",
                wanted, name(kBuiltFor));
    return CpuLevel(i);
  }
  fail("TAPER_CPU: '{}' is none of {}", wanted, fmt::join(kLevelNames, ", "));
}

}  // namespace

CpuLevel cpu_level() {
  static const CpuLevel level = choose_level();
  return level;
}

std::string_view name(CpuLevel level) {
  return kLevelNames[size_t(level)];
}

}  // namespace taper
