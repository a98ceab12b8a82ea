#include "taper/core/write_log.h"

#include <unordered_set>

#include "taper/core/base/error.h"
#include "taper/core/tensor.h"

namespace taper {

constinit thread_local std::vector<std::weak_ptr<Storage>>* detail::write_log = nullptr;

void detail::note_write(const std::shared_ptr<Storage>& storage) {
  write_log->push_back(storage);
}

WriteLog::WriteLog() {
  TAPER_CHECK(detail::write_log == nullptr, "WriteLog: this thread has one already");
  detail::write_log = &storages_;
}

WriteLog::~WriteLog() {
  detail::write_log = nullptr;
}

std::vector<std::shared_ptr<Storage>> WriteLog::written() const {
  std::vector<std::shared_ptr<Storage>> found;
  std::unordered_set<const Storage*> seen;
  for (const std::weak_ptr<Storage>& one : storages_) {
    std::shared_ptr<Storage> storage = one.lock();
    if (storage && seen.insert(storage.get()).second) found.push_back(std::move(storage));
  }
  return found;
}

}  // namespace taper
