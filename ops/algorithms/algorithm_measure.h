#pragma once
// Times the candidates for one call, on the tensors of that call.

#include <functional>
#include <span>
#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/algorithms/algorithm_file.h"

namespace taper::detail {

/// An algorithm that may be chosen.
struct Candidate {
  Algorithm algorithm;
  bool is_reference = false;  ///< the others are verified against it
  bool is_suspected = false;  ///< AlgorithmFault::suspected: made ready by itself
};

struct MeasureOptions {
  /// Whether all results are compared with the reference's, and not only those that always are.
  bool verify = false;
  /// When they are over, no other candidate is tried, and none is timed again: those left out are marked.
  double seconds = 0;
  /// Everything that a candidate does happens inside of this, on several threads at once: it calls body().
  std::function<void(const Algorithm& algorithm, bool for_the_first_time, const std::function<void()>& body)>
      attempt;
};

/// Makes all candidates ready, the first one first and several at once, then runs every one several times, in
/// turns, on copies of the call's outputs: the call itself is not computed. Returns the median time of each
/// (on a GPU by events on the current stream), or why it is out of the question: it found no memory, threw an
/// Error, or its result is not the reference's (algorithm_compare.h). Only a wrong result and AlgorithmFailed
/// say so for good; the rest may pass (AlgorithmTiming::may_pass). Candidates that are clearly slower than
/// the best run fewer times. Throws OutOfMemoryError if there is no memory for the copies, DeviceLostError if
/// a candidate, or what was enqueued before, has ended the device.
std::vector<AlgorithmTiming> measure(const std::function<CallCopy()>& copy_call,
                                     std::span<const Candidate> candidates, Device device,
                                     const MeasureOptions& options);

}  // namespace taper::detail
