#pragma once
// What the algorithm cache has measured, as a file that all processes of a user share.
//
// Every process reads it once. After measuring, it adds the result under a lock to what is there by then, so
// concurrent writers lose nothing. The file is replaced whole: a reader never sees a part. Its content is
// trusted only as far as its form and meaning can be checked; its folder is the user's alone.

#include <map>
#include <string>
#include <vector>

namespace taper {

/// The result for one candidate.
struct AlgorithmTiming {
  std::string name;
  double median_ms = 0;   ///< 0: not measured
  std::string rejected;   ///< why it cannot be chosen; empty if it can
  bool is_wrong = false;  ///< rejected for a wrong result
  bool may_pass = false;  ///< rejected for a reason that may pass, such as no memory: never in the file
  bool left_out = false;  ///< not measured, because the time allowed was over
};

/// One problem and how it was decided.
struct AlgorithmRecord {
  std::string problem;      ///< Problem::str()
  std::string environment;  ///< Problem::environment()
  std::string winner;
  bool verified = false;                    ///< the results were compared too
  double seconds_allowed = 0;               ///< too short a time for some candidates; 0: all were measured
  std::vector<AlgorithmTiming> candidates;  ///< in the order of their estimated cost

  /// Problem, environment and the candidates' names: a record counts only if all of these are equal.
  std::vector<std::string> key() const;
};

/// A candidate that made a process lose its GPU, or ended the process, when it was tried for a problem.
struct AlgorithmFault {
  std::string problem;      ///< Problem::str()
  std::string environment;  ///< Problem::environment()
  std::string algorithm;    ///< the candidate's name
  std::string what;         ///< what happened
  /// It may be innocent: a process ended while trying it, perhaps from outside. It is tried once more; a
  /// second end counts as a fault.
  bool suspected = false;

  bool is_of_same(const AlgorithmFault& other) const {
    return problem == other.problem && environment == other.environment && algorithm == other.algorithm;
  }
};

/// Records by key.
using AlgorithmTable = std::map<std::vector<std::string>, AlgorithmRecord>;

class AlgorithmFile {
 public:
  /// An empty path: no file. Then read() returns nothing and add() does nothing.
  explicit AlgorithmFile(std::string path = {}) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  /// Returns all records; none if there is no file. A file that cannot be understood, or makes no sense, is
  /// renamed to PATH.damaged, with a warning. Throws FileError if the file cannot be read, or if others may
  /// write to its folder (core/files/private_folder.h).
  AlgorithmTable read() const;
  /// Adds `record`, in place of one with the same key, and returns all records. Makes the folders, for this
  /// user alone. Throws FileError if the file cannot be written, or locked within FileLock::kPatienceSeconds.
  /// Throws Error if the record makes no sense: its winner is no candidate, or is rejected, or a name has
  /// control characters.
  AlgorithmTable add(const AlgorithmRecord& record) const;
  /// Returns the candidates that must not be tried again, in the order in which they were added.
  std::vector<AlgorithmFault> faults() const;
  /// Adds `fault`, in place of an earlier one of the same candidate; two suspicions make a fault. Throws
  /// FileError if the file cannot be written.
  void add(const AlgorithmFault& fault) const;
  /// Removes the suspicion against a candidate. Throws FileError if the file cannot be written.
  void clear_suspicion(const AlgorithmFault& fault) const;
  /// Lets all candidates be tried again. Returns how many had faults. Throws FileError if it cannot write.
  size_t forget_faults() const;
  /// Deletes the file. Returns whether there was one. Throws FileError if it cannot be deleted.
  bool remove() const;

 private:
  std::string path_;
};

/// The file of algorithm_cache(): TAPER_ALGORITHM_CACHE, or taper/algorithms.json under $XDG_CACHE_HOME or
/// ~/.cache. Empty if none of these is known.
std::string default_algorithm_file();

}  // namespace taper
