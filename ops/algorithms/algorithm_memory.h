#pragma once
// What the algorithm cache knows of earlier measurements: those of this process, and those in the file that
// all processes of a user share. Where the file fails, knowledge stays in memory, and warn() says so once.

#include <mutex>
#include <string>
#include <vector>

#include "taper/ops/algorithms/algorithm_file.h"
#include "taper/ops/algorithms/algorithm_problem.h"
#include "taper/ops/algorithms/plan_store.h"

namespace taper {

/// Thread-safe. Reads the file once, when it is first needed.
class AlgorithmMemory {
 public:
  /// An empty path: no file. What is known in memory stays.
  void set_file(const std::string& path);
  /// Empty: no file.
  std::string file_path() const;
  /// The folder plans/ beside the file.
  PlanStore plans();
  /// Forgets what is in memory. The file is read again when it is next needed.
  void clear();

  /// Finds the record with the key of `record` and writes it there. Returns false if there is none, if it is
  /// not verified though `verified` is asked for, or if some of its candidates had too little time and
  /// `seconds` allows more.
  bool recall(AlgorithmRecord& record, bool verified, double seconds);
  /// Keeps the record in memory, and in the file unless a candidate was rejected for what may pass.
  void remember(const AlgorithmRecord& record);

  /// The candidates that must not be tried for this problem.
  std::vector<AlgorithmFault> faults_of(const Problem& problem);
  void remember(const AlgorithmFault& fault);
  /// A suspected candidate has survived: removes the suspicion.
  void acquit(const AlgorithmFault& fault);

 private:
  // All with mutex_ held.
  void read_file();
  /// Warns of a trial that another process has left behind.
  void warn_of(const AlgorithmFault& trial) const;
  /// Calls change(), which reads or writes the file. If that fails, warns, and uses no file from then on.
  template <class Change>
  void use_file(Change&& change);

  mutable std::mutex mutex_;  // for all below
  AlgorithmFile file_;
  bool file_read_ = false;
  AlgorithmTable measured_;
  std::vector<AlgorithmFault> faults_;
};

}  // namespace taper
