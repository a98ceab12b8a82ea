// Compiled for the oldest x86-64 CPU (core/CMakeLists.txt) and linked into every program (-u
// taper_check_cpu).

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "taper/core/base/cpu_features.h"

#if defined(__x86_64__)

#if defined(__SSE3__) && !defined(__clang_analyzer__)  // which reads files with each other's flags
#error "compiled for a CPU that is newer than the oldest: core/CMakeLists.txt has to set -march=x86-64"
#endif

namespace taper::detail {
namespace {

bool cpu_has(const char* feature) {
  __builtin_cpu_init();
  const struct {
    const char* name;
    int supported;
  } known[] = {{"sse4.2", __builtin_cpu_supports("sse4.2")},
               {"popcnt", __builtin_cpu_supports("popcnt")},
               {"avx", __builtin_cpu_supports("avx")},
               {"xop", __builtin_cpu_supports("xop")},
               {"fma4", __builtin_cpu_supports("fma4")},
               {"fma", __builtin_cpu_supports("fma")},
               {"bmi", __builtin_cpu_supports("bmi")},
               {"bmi2", __builtin_cpu_supports("bmi2")},
               {"avx2", __builtin_cpu_supports("avx2")},
               {"avx512f", __builtin_cpu_supports("avx512f")},
               {"avx512cd", __builtin_cpu_supports("avx512cd")},
               {"avx512bw", __builtin_cpu_supports("avx512bw")},
               {"avx512dq", __builtin_cpu_supports("avx512dq")},
               {"avx512vl", __builtin_cpu_supports("avx512vl")},
               {"avx512ifma", __builtin_cpu_supports("avx512ifma")},
               {"avx512vbmi", __builtin_cpu_supports("avx512vbmi")},
               {"avx512vbmi2", __builtin_cpu_supports("avx512vbmi2")},
               {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
               {"avx512bitalg", __builtin_cpu_supports("avx512bitalg")},
               {"avx512vpopcntdq", __builtin_cpu_supports("avx512vpopcntdq")},
               {"avx512bf16", __builtin_cpu_supports("avx512bf16")}};
  for (const auto& each : known) {
    if (std::strcmp(each.name, feature) == 0) return each.supported != 0;
  }
  return false;
}

}  // namespace
}  // namespace taper::detail

/// Ends the program if the CPU lacks an instruction set. Runs before the constructors of static objects,
/// because they are compiled for the CPU of the build.
extern "C" [[gnu::constructor(101)]] void taper_check_cpu() {
  char lacking[512] = "";
  for (const char* const* feature = taper::detail::kNeededCpuFeatures; *feature != nullptr; ++feature) {
    if (taper::detail::cpu_has(*feature)) continue;
    const size_t used = std::strlen(lacking);
    std::snprintf(lacking + used, sizeof lacking - used, " %s", *feature);
  }
  if (lacking[0] == '\0') return;
  std::fprintf(stderr,
               "%s: this program was made for another CPU; this one lacks%s. Build Taper on this machine, or "
               "without -DTAPER_MARCH, for all CPUs\n",
               program_invocation_short_name, lacking);
  _exit(1);
}

#else

extern "C" void taper_check_cpu() {}

#endif
