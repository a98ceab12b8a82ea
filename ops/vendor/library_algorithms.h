#pragma once
// The engines of a vendor's library as algorithms for an op on the GPU.
//
// Listing engines is quick, making one ready may not be: cuDNN compiles some for a second. So a plan is built
// when its algorithm first runs. A process that recalls its choice from the algorithm file builds only that
// one. If another process has kept its compiled plan, not even that is built.

#include <vector>

#include "taper/ops/vendor/engine_library.h"

namespace taper::ops {

/// Returns the engines that a library offers for `pattern`, which describes `problem`, in the library's
/// order. Each runs on EngineOperands, on their device. Ranks rise from `rank` by less than 0.2 in all. None
/// if there is no library, or if it fails, which is reported by warn().
std::vector<Algorithm> library_algorithms(const EnginePattern& pattern, const Problem& problem, double rank);

}  // namespace taper::ops
