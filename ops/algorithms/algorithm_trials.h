#pragma once
// Notes on disk that name the candidates being tried. A candidate that crashes or hangs takes the process
// with it before anything can be measured; its note stays, and the next process knows what to leave out.

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "taper/ops/algorithms/algorithm_file.h"

namespace taper {

/// The note of one process about one problem: a file PATH.trial-XXXXXX beside the algorithm file at PATH,
/// locked while the process lives. Thread-safe. Never throws: without a note nothing else is different.
class AlgorithmTrials {
 public:
  /// `path`: of the algorithm file; empty: no notes.
  explicit AlgorithmTrials(std::string path) : path_(std::move(path)) {}
  /// Removes the note.
  ~AlgorithmTrials();
  AlgorithmTrials(const AlgorithmTrials&) = delete;
  AlgorithmTrials& operator=(const AlgorithmTrials&) = delete;

  /// Notes that `trial` is under way.
  void begin(const AlgorithmFault& trial) noexcept;
  /// Takes that back: the process has survived it.
  void end(const AlgorithmFault& trial) noexcept;

 private:
  void write();

  std::string path_, note_path_;
  int fd_ = -1;
  std::mutex mutex_;
  std::vector<AlgorithmFault> under_way_;
};

/// What processes that have ended were trying, as suspicions, by their notes beside the algorithm file at
/// `path`, which are removed. Throws FileError if there are notes and that file cannot be locked.
std::vector<AlgorithmFault> unfinished_trials(const std::string& path);

}  // namespace taper
