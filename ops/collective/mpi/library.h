#pragma once
// Open MPI's library, opened at run time, so that programs start where it is missing. The names below are those of
// mpi.h; its constants are addresses of the library's objects.

#include <mpi.h>

#include <string>

#include "taper/core/base/dtype.h"

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
  decltype(&MPI_Testall) testall = nullptr;
  decltype(&MPI_Iallreduce) iallreduce = nullptr;
  decltype(&MPI_Ibcast) ibcast = nullptr;
  decltype(&MPI_Iallgather) iallgather = nullptr;

  MPI_Comm world = nullptr;
  MPI_Errhandler errors_return = nullptr;
  MPI_Op sum = nullptr, max = nullptr;
  MPI_Datatype byte = nullptr, f32 = nullptr, f64 = nullptr, i32 = nullptr, i64 = nullptr;

  /// Returns the type of f32, f64, i32 and i64; bytes for all others.
  MPI_Datatype type_of(DType dtype) const;
  /// Throws CollectiveError with the library's text unless `status` is MPI_SUCCESS.
  void check(int status, const char* call) const;
};

}  // namespace taper::detail
