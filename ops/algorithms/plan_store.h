#pragma once
// Keeps in a folder what took long to prepare for an algorithm, such as code that a library has compiled, so
// that the next process need not repeat it. The algorithm file names the candidate that was chosen; this
// store keeps the candidate's bytes. Every entry is one file, named by a hash of its key and written whole or
// not at all, so any number of processes may share the folder.

#include <optional>
#include <string>

namespace taper {

class PlanStore {
 public:
  /// An empty folder: nothing is kept or found.
  explicit PlanStore(std::string folder = {}) : folder_(std::move(folder)) {}

  /// Returns the bytes kept for `key`; nothing if there are none. `key` names everything that the bytes
  /// depend on: what is computed, by which library's version, for which device. A file that is damaged, or
  /// has another key, is renamed to FILE.damaged, with a warning.
  std::optional<std::string> find(const std::string& key) const;
  /// Keeps `bytes`. Makes the folder, for this user alone (core/files/private_folder.h). If that fails,
  /// nothing is kept and warn() reports it.
  void keep(const std::string& key, const std::string& bytes) const;
  /// Renames the entry, which its maker cannot use, to FILE.damaged, and warns with `why`.
  void set_aside(const std::string& key, const std::string& why) const;

 private:
  std::string path_of(const std::string& key) const;

  std::string folder_;
};

}  // namespace taper
