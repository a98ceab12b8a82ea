#pragma once
// Ranks that are threads of one process: for tests, and to see data parallelism without any other program.

#include <memory>
#include <vector>

#include "taper/ops/collective/process_group.h"
#include "taper/ops/collective/transport.h"

namespace taper {

/// Returns one group for each of `ranks` threads. Every run has the same bits. Throws Error unless ranks >= 1.
std::vector<std::unique_ptr<ProcessGroup>> make_local_groups(
    int ranks, CollectiveTimeout timeout = kDefaultCollectiveTimeout);

/// Returns what such ranks send their messages through, for each of `ranks` threads.
std::vector<std::unique_ptr<Transport>> make_local_transports(int ranks);

}  // namespace taper
