#include "bench/mpi/all_reduce.h"

#include <limits>

#include "taper/core/base/error.h"

#if TAPER_HAVE_MPI
#include <mpi.h>

#include "taper/core/gpu/shared_library.h"

namespace taper {
namespace {

/// The library that make_process_group() has opened and initialised.
struct Library {
  Library() {
    gpu::SharedLibrary library({"libmpi.so.40", "libmpi.so"});
    library.find(all_reduce, "MPI_Allreduce");
    library.find(world, "ompi_mpi_comm_world");
    library.find(sum, "ompi_mpi_op_sum");
    library.find(f32, "ompi_mpi_float");
    TAPER_CHECK(library.failure().empty(), "MPI cannot be used: {}", library.failure());
  }
  decltype(&MPI_Allreduce) all_reduce = nullptr;
  MPI_Comm world = nullptr;
  MPI_Op sum = nullptr;
  MPI_Datatype f32 = nullptr;
};

}  // namespace

void mpi_all_reduce(float* data, int64_t count) {
  static const Library mpi;
  TAPER_CHECK(count <= std::numeric_limits<int>::max(), "MPI counts in int: {} is too many", count);
  const int status = mpi.all_reduce(MPI_IN_PLACE, data, int(count), mpi.f32, mpi.sum, mpi.world);
  TAPER_CHECK(status == MPI_SUCCESS, "MPI_Allreduce failed with {}", status);
}

}  // namespace taper

#else

namespace taper {
void mpi_all_reduce(float*, int64_t) {
  fail("this build has no MPI");
}
}  // namespace taper

#endif
