#pragma once
// Ranks that are threads of one process: for tests, and to see data parallelism without any other program.

#include <memory>
#include <vector>

#include "taper/ops/collective/process_group.h"

namespace taper {

/// Returns one group for each of `ranks` threads. Sums are taken in the order of ranks, so every run has the same
/// bits. Throws Error unless ranks >= 1.
std::vector<std::unique_ptr<ProcessGroup>> make_local_groups(
    int ranks, CollectiveTimeout timeout = kDefaultCollectiveTimeout);

}  // namespace taper
