#pragma once
// A program made for one CPU (TAPER_MARCH) that is started on an older one would end with "Illegal
// instruction", whatever it was asked to do. Every program of Taper therefore looks at its CPU before
// anything else runs.

namespace taper::detail {

/// The instruction sets that the compiler may use in this build, by their names in GCC; the last is null.
extern const char* const kNeededCpuFeatures[];

}  // namespace taper::detail
