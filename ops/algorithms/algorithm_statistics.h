#pragma once
// Counts of what the algorithm cache did.

#include <cstdint>

namespace taper {

struct AlgorithmStatistics {
  int64_t hits = 0;         ///< calls whose problem had been decided
  int64_t misses = 0;       ///< calls that had to decide
  int64_t recalled = 0;     ///< misses answered by an earlier measurement, for example from the file
  int64_t benchmarked = 0;  ///< misses answered by measuring
  int64_t rejected = 0;     ///< candidates that computed wrong results or failed
  int64_t fallbacks = 0;    ///< calls whose candidate found no memory for its workspace
  int64_t left_out = 0;     ///< candidates that were not measured, for lack of time
  int64_t unmeasured = 0;   ///< misses answered by the estimates, for lack of time
  double benchmark_seconds = 0;

  /// Returns the counts since `before`.
  AlgorithmStatistics since(const AlgorithmStatistics& before) const {
    return {hits - before.hits,
            misses - before.misses,
            recalled - before.recalled,
            benchmarked - before.benchmarked,
            rejected - before.rejected,
            fallbacks - before.fallbacks,
            left_out - before.left_out,
            unmeasured - before.unmeasured,
            benchmark_seconds - before.benchmark_seconds};
  }
};

}  // namespace taper
