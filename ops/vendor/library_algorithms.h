#pragma once
// A vendor's engines as algorithms for an op on the GPU.
//
// Listing engines is fast, building a plan may not be: cuDNN compiles some for a second. So a plan is built
// when its algorithm first runs. A process that recalls its choice from the algorithm file builds only that
// plan, or none if another process has kept it compiled.

#include <vector>

#include "taper/ops/vendor/engine_library.h"

namespace taper::ops {

/// Returns a library's engines for `pattern`, which describes `problem`, in the library's order. Each runs on
/// EngineOperands, on their device. Ranks rise from `rank` by less than 0.2 in total. Returns none if there
/// is no library, or if it fails, which warn() reports.
std::vector<Algorithm> library_algorithms(const EnginePattern& pattern, const Problem& problem, double rank);

}  // namespace taper::ops
