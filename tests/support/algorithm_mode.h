#pragma once
// The algorithm cache's mode during a test.

#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper {

/// Sets the mode of algorithm_cache() while it lives. A test that needs equal bits from a GPU asks for
/// kDeterministic: a vendor's library has algorithms that add in the order in which blocks finish, and the
/// heuristic may choose one.
class AlgorithmModeGuard {
 public:
  explicit AlgorithmModeGuard(AlgorithmMode mode) { algorithm_cache().set_mode(mode); }
  ~AlgorithmModeGuard() { algorithm_cache().set_mode(before_); }
  AlgorithmModeGuard(const AlgorithmModeGuard&) = delete;
  AlgorithmModeGuard& operator=(const AlgorithmModeGuard&) = delete;

 private:
  AlgorithmMode before_ = algorithm_cache().mode();
};

}  // namespace taper
