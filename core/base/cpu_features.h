#pragma once
// A program that was built for one CPU (TAPER_MARCH) ends with "Illegal instruction" on an older one,
// whatever it was asked to do. So every program of Taper checks its CPU before anything else runs.

namespace taper::detail {

/// The instruction sets that the compiler may use in this build, by GCC's names. The last entry is null.
extern const char* const kNeededCpuFeatures[];

}  // namespace taper::detail
