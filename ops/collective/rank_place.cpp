#include "taper/ops/collective/rank_place.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "taper/ops/collective/mpi_group.h"
#include "taper/ops/collective/tcp_group.h"

namespace taper {
namespace {

std::optional<int> number_in_environment(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const text = std::getenv(name);
    int number = 0;
    if (text == nullptr) continue;
    const char* const end = text + std::strlen(text);
    const auto [stopped, error] = std::from_chars(text, end, number);
    if (error == std::errc() && stopped == end && number >= 0) return number;
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

/// Returns a variable as it was set; "nothing" without it.
std::string_view value_of(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? "nothing" : text;
}

/// torchrun keeps a store of its own at MASTER_PORT, so that rank 0 listens one above.
int port_of_rank_0() {
  constexpr int kUsual = 29500;  // torchrun's
  const int own = value_of("TORCHELASTIC_USE_AGENT_STORE") == "True" ? 1 : 0;
  if (std::getenv("MASTER_PORT") == nullptr) return kUsual + own;
  const int port = number_in_environment({"MASTER_PORT"}).value_or(0);
  return port == 0 ? 0 : port + own;
}

std::optional<RankPlace> torchrun_place() {
  int set = 0;
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR"}) set += std::getenv(name) != nullptr ? 1 : 0;
  if (set <= 1) return std::nullopt;  // one alone is something else's
  const auto rank = number_in_environment({"RANK"}), size = number_in_environment({"WORLD_SIZE"});
  const int port = port_of_rank_0();
  const std::string_view address = value_of("MASTER_ADDR");
  constexpr int kLastPort = 65535;
  TAPER_CHECK(
      set == 3 && rank && size && *rank < *size && port >= 1 && port <= kLastPort && !address.empty(),
      "RANK={}, WORLD_SIZE={}, MASTER_ADDR={} and MASTER_PORT={} name no rank: RANK must be from 0 to "
      "below WORLD_SIZE, MASTER_ADDR rank 0's host, and MASTER_PORT from 1 to {} (29500 if it is not set)",
      value_of("RANK"), value_of("WORLD_SIZE"), address, value_of("MASTER_PORT"), kLastPort);
  return RankPlace{.rank = *rank,
                   .size = *size,
                   .local_rank = number_in_environment({"LOCAL_RANK"}).value_or(0),
                   .local_size = number_in_environment({"LOCAL_WORLD_SIZE"}).value_or(0),
                   .meeting = Meeting::kTcp,
                   .address = std::string(address),
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
