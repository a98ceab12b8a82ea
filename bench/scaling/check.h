#pragma once
// The model beside what ranks on this machine really do.

#include <nlohmann/json_fwd.hpp>

#include "bench/scaling/measured_step.h"
#include "taper/ops/collective/process_group.h"

namespace taper::scaling {

/// All ranks call it. Fits a link to all-reduces of several sizes, measures a plain step while all ranks compute, and
/// DistributedDataParallel's steps with several sizes of buckets, in turn. Prints on rank 0 what the model foretells
/// beside what was measured. Returns the figures.
nlohmann::json check(ProcessGroup& group, const StepOptions& options);

}  // namespace taper::scaling
