#pragma once
// Times the candidates for one call, on the tensors of that call.

#include <span>
#include <vector>

#include "taper/core/algorithm_candidate.h"
#include "taper/core/algorithm_file.h"

namespace taper::detail {

/// Runs every candidate several times, in turns, on copies of the call's outputs: the call itself is not
/// computed. Returns the median time of each (on a GPU by events on the current stream), or why it is out of
/// the question: it found no memory, threw an Error, or (with `verify`, or if it always is) its result is not
/// the reference's, of which u8 are taken for the bits of comparisons. Candidates that are clearly slower
/// than the best run fewer times. Throws OutOfMemoryError if there is no memory for the copies.
std::vector<AlgorithmTiming> measure(const ErasedCall& call, std::span<const ErasedCandidate> candidates,
                                     Device device, bool verify);

}  // namespace taper::detail
