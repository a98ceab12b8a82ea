#pragma once
// What the algorithm cache knows of earlier measurements: this process's, and those in the file that a user's
// processes share. If the file fails, knowledge stays in memory, and warn() says so once.

#include <mutex>
#include <string>
#include <vector>

#include "taper/ops/algorithms/algorithm_file.h"
#include "taper/ops/algorithms/algorithm_problem.h"
#include "taper/ops/algorithms/plan_store.h"

namespace taper {

/// Thread-safe. Reads the file once, at the first need.
class AlgorithmMemory {
 public:
  /// Sets the file; an empty path: no file. What is known in memory stays.
  void set_file(const std::string& path);
  /// Returns the file; empty: none.
  std::string file_path() const;
  /// Returns the store in the folder plans/ beside the file.
  PlanStore plans();
  /// Forgets what is in memory. The file is read again at the next need.
  void clear();

  /// Finds the record with the key of `record` and writes it to `record`. Returns false if there is none, if
  /// it is not verified but must be, or if some candidates had too little time and `seconds` allows more.
  bool recall(AlgorithmRecord& record, bool verified, double seconds);
  /// Keeps the record in memory, and in the file unless a candidate was rejected for a reason that may pass.
  void remember(const AlgorithmRecord& record);

  /// Returns the candidates that must not be tried for this problem.
  std::vector<AlgorithmFault> faults_of(const Problem& problem);
  void remember(const AlgorithmFault& fault);
  /// Removes the suspicion against a candidate that has survived.
  void acquit(const AlgorithmFault& fault);

 private:
  // Call these with mutex_ held.
  void read_file();
  /// Warns of a trial that another process left unfinished.
  void warn_of(const AlgorithmFault& trial) const;
  /// Calls change(), which reads or writes the file. On failure warns, and uses no file from then on.
  template <class Change>
  void use_file(Change&& change);

  mutable std::mutex mutex_;  // for all members below
  AlgorithmFile file_;
  bool file_read_ = false;
  AlgorithmTable measured_;
  std::vector<AlgorithmFault> faults_;
};

}  // namespace taper
