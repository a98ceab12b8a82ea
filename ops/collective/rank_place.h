#pragma once
// RankPlace: which of several processes this one is, as its launcher says.

#include <memory>
#include <optional>
#include <string>

#include "taper/ops/collective/process_group.h"

namespace taper {

/// How the ranks of a job meet.
enum class Meeting : uint8_t {
  kMpi,  ///< started by mpirun or srun: through Open MPI
  kTcp   ///< started by torchrun, or by hand with its variables: at an address
};

/// A process among those that a launcher has started.
struct RankPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< among the processes on its host
  int local_size = 1;  ///< 0: the launcher does not tell
  Meeting meeting = Meeting::kMpi;
  std::string address = {};  ///< for kTcp: rank 0's host
  int port = 0;              ///< for kTcp: where rank 0 listens
};

/// Returns the place that a launcher has given this process, from its environment: mpirun's and srun's variables, or
/// torchrun's RANK, WORLD_SIZE and MASTER_ADDR, with MASTER_PORT, LOCAL_RANK and LOCAL_WORLD_SIZE where they are set.
/// Nothing if the process was started by itself. Throws Error for torchrun's variables that make no sense.
std::optional<RankPlace> rank_place();

/// Joins the other ranks. Once in a process, from the main thread. Throws Error if the ranks cannot meet. A collective
/// that a rank does not come to within `timeout` fails on all others.
std::unique_ptr<ProcessGroup> make_process_group(const RankPlace& place,
                                                 CollectiveTimeout timeout = kDefaultCollectiveTimeout);

}  // namespace taper
