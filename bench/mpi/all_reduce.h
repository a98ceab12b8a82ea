#pragma once
// Open MPI's own all-reduce, called directly: what ProcessGroup is measured against.

#include <cstdint>

namespace taper {

/// Replaces the f32 numbers at `data`, on every rank, by the sum of all ranks'. Blocks. After make_mpi_group(), while no
/// collective of the group is under way. Throws Error if MPI lacks the function or fails.
void mpi_all_reduce(float* data, int64_t count);

}  // namespace taper
