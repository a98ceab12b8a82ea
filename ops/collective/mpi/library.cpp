#include "taper/ops/collective/mpi/library.h"

#include "taper/core/gpu/shared_library.h"
#include "taper/ops/collective/collective_call.h"

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
  find(test, "MPI_Test");
  find(cancel, "MPI_Cancel");
  find(request_free, "MPI_Request_free");
  find(world, "ompi_mpi_comm_world");
  find(errors_return, "ompi_mpi_errors_return");
  find(byte, "ompi_mpi_byte");
  find(request_null, "ompi_request_null");
  TAPER_CHECK(library.failure().empty(),
              "MPI cannot be used: {}; install Open MPI (Debian: libopenmpi3 openmpi-bin)",
              library.failure());
}

void MpiLibrary::check(int status, const char* call) const {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  error_string(status, text, &length);
  fail<CollectiveError>("{} failed: {}", call, std::string(text, size_t(length)));
}

}  // namespace taper::detail
