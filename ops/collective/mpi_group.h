#pragma once
// Ranks that are processes started by mpirun or srun, on one host or several. PyTorch's counterpart:
// c10d/ProcessGroupMPI.hpp.

#include <memory>
#include <optional>

#include "taper/ops/collective/process_group.h"

namespace taper {

/// A process among those that mpirun has started.
struct MpiPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< among the processes on its host
  int local_size = 1;
};

/// Returns the place that mpirun or srun has given this process, from its environment; nothing if the process was
/// started by itself. Needs no MPI.
std::optional<MpiPlace> mpi_place();

/// Joins the other ranks. Once in a process, from the main thread. Throws Error if this build or machine has no MPI, or
/// the ranks cannot meet. A collective that a rank does not come to within `timeout` fails on all others.
std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout timeout = kDefaultCollectiveTimeout);

}  // namespace taper
