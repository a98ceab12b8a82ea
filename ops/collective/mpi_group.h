#pragma once
// Ranks that are processes started by mpirun or srun, on one host or several. PyTorch's counterpart:
// c10d/ProcessGroupMPI.hpp.

#include <memory>

#include "taper/ops/collective/process_group.h"

namespace taper {

/// Joins the other ranks. Once in a process, from the main thread. Throws Error if this build or machine has no MPI, or
/// the ranks cannot meet. A collective that a rank does not come to within `timeout` fails on all others.
std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout timeout = kDefaultCollectiveTimeout);

}  // namespace taper
