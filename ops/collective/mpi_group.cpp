#include "taper/ops/collective/mpi_group.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

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

}  // namespace

std::optional<MpiPlace> mpi_place() {
  // Open MPI's own names, then those of a launcher that speaks PMI to it.
  const auto size = number_in_environment({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
  const auto rank = number_in_environment({"OMPI_COMM_WORLD_RANK", "PMI_RANK"});
  if (!size || !rank) {
    // srun with PMIx tells the size in Slurm's variable alone.
    if (std::getenv("PMIX_RANK") == nullptr) return std::nullopt;
    return MpiPlace{.rank = number_in_environment({"PMIX_RANK"}).value_or(0),
                    .size = number_in_environment({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}).value_or(1),
                    .local_rank = number_in_environment({"SLURM_LOCALID"}).value_or(0),
                    .local_size = number_in_environment({"SLURM_STEP_TASKS_PER_NODE"}).value_or(1)};
  }
  return MpiPlace{
      .rank = *rank,
      .size = *size,
      .local_rank = number_in_environment({"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}).value_or(0),
      .local_size = number_in_environment({"OMPI_COMM_WORLD_LOCAL_SIZE"}).value_or(1)};
}

#if !TAPER_HAVE_MPI
std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout) {
  fail("this build has no MPI: install libopenmpi-dev and build again (scripts/setup.sh does the first)");
}
#endif

}  // namespace taper
