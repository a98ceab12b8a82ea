#include "taper/ops/collective/mpi/library.h"

#include "taper/core/gpu/shared_library.h"
#include "taper/ops/collective/backend.h"

namespace taper::detail {

MpiLibrary::MpiLibrary() {
  gpu::SharedLibrary library({"libmpi.so.40", "libmpi.so"});  // Open MPI 4 and 5
  const auto find = [&](auto*& pointer, const char* name) { library.find(pointer, name); };
  find(init_thread, "MPI_Init_thread");
  find(finalize, "MPI_Finalize");
  find(abort, "MPI_Abort");
  find(comm_rank, "MPI_Comm_rank");
  find(comm_size, "MPI_Comm_size");
  find(comm_set_errhandler, "MPI_Comm_set_errhandler");
  find(get_processor_name, "MPI_Get_processor_name");
  find(error_string, "MPI_Error_string");
  find(isend, "MPI_Isend");
  find(irecv, "MPI_Irecv");
  find(testall, "MPI_Testall");
  find(iallreduce, "MPI_Iallreduce");
  find(ibcast, "MPI_Ibcast");
  find(iallgather, "MPI_Iallgather");
  find(world, "ompi_mpi_comm_world");
  find(errors_return, "ompi_mpi_errors_return");
  find(sum, "ompi_mpi_op_sum");
  find(max, "ompi_mpi_op_max");
  find(byte, "ompi_mpi_byte");
  find(f32, "ompi_mpi_float");
  find(f64, "ompi_mpi_double");
  find(i32, "ompi_mpi_int32_t");
  find(i64, "ompi_mpi_int64_t");
  TAPER_CHECK(library.failure().empty(),
              "MPI cannot be used: {}; install Open MPI (Debian: libopenmpi3 openmpi-bin)",
              library.failure());
}

MPI_Datatype MpiLibrary::type_of(DType dtype) const {
  switch (dtype) {
    case kFloat32:
      return f32;
    case kFloat64:
      return f64;
    case kInt32:
      return i32;
    case kInt64:
      return i64;
    default:
      return byte;
  }
}

void MpiLibrary::check(int status, const char* call) const {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  error_string(status, text, &length);
  fail<CollectiveError>("{} failed: {}", call, std::string(text, size_t(length)));
}

}  // namespace taper::detail
