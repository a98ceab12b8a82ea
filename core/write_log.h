#pragma once
// What a stretch of code writes into in place. A graph that captured it writes there again at each replay, and the tensors'
// versions must say so.

#include <memory>
#include <vector>

#include "taper/core/storage.h"

namespace taper {

/// While it lives, notes what this thread writes, from tensors' calls of bump_version(). Logs do not nest.
class WriteLog {
 public:
  WriteLog();
  ~WriteLog();
  WriteLog(const WriteLog&) = delete;
  WriteLog& operator=(const WriteLog&) = delete;

  /// Returns the storages that still exist, each once.
  std::vector<std::shared_ptr<Storage>> written() const;

 private:
  std::vector<std::weak_ptr<Storage>> storages_;
};

}  // namespace taper
