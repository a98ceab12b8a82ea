#include "taper/ops/collective/rank_place.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "taper/ops/collective/mpi_group.h"
#include "taper/ops/collective/tcp_group.h"

namespace taper {
namespace {

std::optional<int> number_in_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const text = std::getenv(name);
    int number = 0;
    if (text == nullptr) continue;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
    if (error == std::errc() && number >= 0) return number;
  }
  return std::nullopt;
}

std::optional<RankPlace> mpi_place() {
  // Open MPI's own names, then those of a launcher that speaks PMI to it.
  const auto size = number_in_environment({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
  const auto rank = number_in_environment({"OMPI_COMM_WORLD_RANK", "PMI_RANK"});
  if (!size || !rank) {
    // srun with PMIx tells the size in Slurm's variable alone.
    if (std::getenv("PMIX_RANK") == nullptr) return std::nullopt;
    return RankPlace{.rank = number_in_environment({"PMIX_RANK"}).value_or(0),
                     .size = number_in_environment({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}).value_or(1),
                     .local_rank = number_in_environment({"SLURM_LOCALID"}).value_or(0),
                     .local_size = number_in_environment({"SLURM_STEP_TASKS_PER_NODE"}).value_or(1)};
  }
  return RankPlace{
      .rank = *rank,
      .size = *size,
      .local_rank = number_in_environment({"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}).value_or(0),
      .local_size = number_in_environment({"OMPI_COMM_WORLD_LOCAL_SIZE"}).value_or(1)};
}

/// torchrun keeps a store of its own at MASTER_PORT, so that rank 0 listens one above.
int port_of_rank_0() {
  const char* const occupied = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  return number_in_environment({"MASTER_PORT"}).value_or(29500) +
         (occupied != nullptr && std::string_view(occupied) == "True" ? 1 : 0);
}

std::optional<RankPlace> torchrun_place() {
  const char* const address = std::getenv("MASTER_ADDR");
  if (address == nullptr || std::getenv("RANK") == nullptr || std::getenv("WORLD_SIZE") == nullptr)
    return std::nullopt;
  const auto rank = number_in_environment({"RANK"}), size = number_in_environment({"WORLD_SIZE"});
  const int port = port_of_rank_0();
  constexpr int kLastPort = 65535;
  TAPER_CHECK(rank && size && *rank < *size && port >= 1 && port <= kLastPort,
              "RANK={}, WORLD_SIZE={} and MASTER_PORT={} name no rank: RANK must be from 0 to below "
              "WORLD_SIZE, and the port from 1 to {}",
              std::getenv("RANK"), std::getenv("WORLD_SIZE"), port, kLastPort);
  return RankPlace{.rank = *rank,
                   .size = *size,
                   .local_rank = number_in_environment({"LOCAL_RANK"}).value_or(0),
                   .local_size = number_in_environment({"LOCAL_WORLD_SIZE"}).value_or(0),
                   .meeting = Meeting::kTcp,
                   .address = address,
                   .port = port};
}

}  // namespace

std::optional<RankPlace> rank_place() {
  const auto place = mpi_place();
  return place ? place : torchrun_place();
}

std::unique_ptr<ProcessGroup> make_process_group(const RankPlace& place, CollectiveTimeout timeout) {
  return place.meeting == Meeting::kMpi ? make_mpi_group(timeout) : make_tcp_group(place, timeout);
}

}  // namespace taper
