#include "taper/ops/collective/mpi_group.h"

namespace taper {

#if !TAPER_HAVE_MPI
std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout) {
  fail("this build has no MPI: install libopenmpi-dev and build again (scripts/setup.sh does the first)");
}
#endif

}  // namespace taper
