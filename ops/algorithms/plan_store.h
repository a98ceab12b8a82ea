#pragma once
// What took long to make for an algorithm, as code that a library has compiled for it, kept in a folder so
// that the next process need not make it again. The algorithm file says which candidate was chosen; this
// keeps the bytes that the candidate is made of. Every entry is a file of its own, named by a hash of its key
// and written whole or not at all, so that any number of processes may share the folder.

#include <optional>
#include <string>

namespace taper {

class PlanStore {
 public:
  /// An empty folder: nothing is kept and nothing found.
  explicit PlanStore(std::string folder = {}) : folder_(std::move(folder)) {}

  /// The bytes kept for `key`, which names everything that they depend on: what is computed, by which version
  /// of what, for which device. Nothing if there are none. A file that is damaged, or another key's, is
  /// renamed to FILE.damaged, with a warning.
  std::optional<std::string> find(const std::string& key) const;
  /// Keeps `bytes`. Makes the folder, for this user alone (core/files/private_folder.h). If that fails
  /// nothing is kept, which is reported by warn().
  void keep(const std::string& key, const std::string& bytes) const;
  /// Renames the entry to FILE.damaged, and warns of it with `why`: its maker cannot use it.
  void set_aside(const std::string& key, const std::string& why) const;

 private:
  std::string path_of(const std::string& key) const;

  std::string folder_;
};

}  // namespace taper
