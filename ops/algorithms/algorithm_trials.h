#pragma once
// Notes on disk that name the candidates being tried. A candidate that crashes or hangs ends the process
// before anything can be measured. Its note stays, and tells the next process what to leave out.

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "taper/ops/algorithms/algorithm_file.h"

namespace taper {

/// One process's note about one problem: a file PATH.trial-XXXXXX beside the algorithm file at PATH, locked
/// while the process lives. Thread-safe. Never throws: without a note nothing else changes.
class AlgorithmTrials {
 public:
  /// `path`: the algorithm file's; empty: no notes.
  explicit AlgorithmTrials(std::string path) : path_(std::move(path)) {}
  /// Removes the note.
  ~AlgorithmTrials();
  AlgorithmTrials(const AlgorithmTrials&) = delete;
  AlgorithmTrials& operator=(const AlgorithmTrials&) = delete;

  /// Writes that `trial` is under way.
  void begin(const AlgorithmFault& trial) noexcept;
  /// Erases `trial`: the process has survived it.
  void end(const AlgorithmFault& trial) noexcept;

 private:
  void write();

  std::string path_, note_path_;
  int fd_ = -1;
  std::mutex mutex_;
  std::vector<AlgorithmFault> under_way_;
};

/// Removes the notes beside the algorithm file at `path` of processes that have ended, and returns their
/// trials as suspicions. Throws FileError if there are notes and that file cannot be locked.
std::vector<AlgorithmFault> unfinished_trials(const std::string& path);

}  // namespace taper
