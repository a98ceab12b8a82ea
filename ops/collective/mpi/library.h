#pragma once
// Open MPI's library, opened at run time, so that programs start where it is missing. The names below are those of
// mpi.h; its constants are addresses of the library's objects.

#include <mpi.h>

#include <string>

namespace taper::detail {

struct MpiLibrary {
  /// Opens the library. Throws Error if it cannot be opened or lacks a function.
  MpiLibrary();

  decltype(&MPI_Init_thread) init_thread = nullptr;
  decltype(&MPI_Finalize) finalize = nullptr;
  decltype(&MPI_Abort) abort = nullptr;
  decltype(&MPI_Comm_rank) comm_rank = nullptr;
  decltype(&MPI_Comm_size) comm_size = nullptr;
  decltype(&MPI_Comm_set_errhandler) comm_set_errhandler = nullptr;
  decltype(&MPI_Get_processor_name) get_processor_name = nullptr;
  decltype(&MPI_Error_string) error_string = nullptr;
  decltype(&MPI_Isend) isend = nullptr;
  decltype(&MPI_Irecv) irecv = nullptr;
  decltype(&MPI_Test) test = nullptr;
  decltype(&MPI_Cancel) cancel = nullptr;
  decltype(&MPI_Request_free) request_free = nullptr;

  MPI_Comm world = nullptr;
  MPI_Errhandler errors_return = nullptr;
  MPI_Datatype byte = nullptr;
  MPI_Request request_null = nullptr;

  /// Throws CollectiveError with the library's text unless `status` is MPI_SUCCESS.
  void check(int status, const char* call) const;
};

}  // namespace taper::detail
