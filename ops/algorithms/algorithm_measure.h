#pragma once
// Times the candidates for one call, on that call's tensors.

#include <functional>
#include <span>
#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/algorithms/algorithm_file.h"

namespace taper::detail {

/// An algorithm that may be chosen.
struct Candidate {
  Algorithm algorithm;
  bool is_reference = false;  ///< the reference for verification
  bool is_suspected = false;  ///< AlgorithmFault::suspected: prepared alone
};

struct MeasureOptions {
  /// Whether to compare all results with the reference's, or only those of always_verified candidates.
  bool verify = false;
  /// A limit, after which no further candidate is tried or timed again; those left out are marked.
  double seconds = 0;
  /// Runs body(), everything that a candidate does. Called on several threads at once.
  std::function<void(const Algorithm& algorithm, bool for_the_first_time, const std::function<void()>& body)>
      attempt;
};

/// Prepares all candidates, the first one first, then several at once. Then runs each several times, in
/// turns, on copies of the call's outputs: the call itself is not computed. Returns each one's median time
/// (on a GPU by events on the current stream), or why it is rejected: it found no memory, threw an Error, or
/// its result differs from the reference's (algorithm_compare.h). Only a wrong result and AlgorithmFailed
/// reject for good; other reasons may pass (AlgorithmTiming::may_pass). Candidates that are clearly slower
/// than the best run fewer times. Throws OutOfMemoryError if there is no memory for the copies. Throws
/// DeviceLostError if a candidate, or work enqueued before, has ended the device.
std::vector<AlgorithmTiming> measure(const std::function<CallCopy()>& copy_call,
                                     std::span<const Candidate> candidates, Device device,
                                     const MeasureOptions& options);

}  // namespace taper::detail
