#include "taper/nn/checkpoint/checkpoint_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"
#include "taper/core/files/atomic_folder.h"
#include "taper/core/files/temporary_name.h"

namespace taper {
namespace {

constexpr const char* kStepPrefix = "step-";
constexpr const char* kLockName = ".lock";

struct Entry {
  std::string path;
  CheckpointOrder order;
  std::string damage = {};  ///< why checkpoint.json cannot be read; "" if it can
};

/// Returns the checkpoints in `folder`, the oldest first, damaged ones before all.
std::vector<Entry> entries_in(const std::string& folder) {
  std::vector<Entry> entries;
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string path = entry->path().native();
    std::error_code unknown;
    if (!entry->path().filename().native().starts_with(kStepPrefix)) continue;
    if (entry->is_symlink(unknown) || !entry->is_directory(unknown)) continue;
    try {
      entries.push_back({.path = path, .order = read_checkpoint_order(path)});
    } catch (const FileError& error) {
      entries.push_back({.path = path, .order = {.serial = -1}, .damage = error.what()});
    }
  }
  if (failed) fail<FileError>("{}: cannot be read: {}", folder, failed.message());
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.order.serial, a.path) < std::pair(b.order.serial, b.path);
  });
  return entries;
}

}  // namespace

std::optional<FoundCheckpoint> find_checkpoint(const std::string& path) {
  if (is_checkpoint(path)) return FoundCheckpoint{path, read_checkpoint(path), {}};
  std::error_code unknown;
  if (!std::filesystem::is_directory(path, unknown)) return std::nullopt;
  const std::vector<Entry> entries = entries_in(path);
  std::optional<FoundCheckpoint> found;
  std::vector<std::string> damaged;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (!entry->damage.empty()) damaged.push_back(entry->damage);
    if (found || !entry->damage.empty()) continue;
    try {
      found = FoundCheckpoint{entry->path, read_checkpoint(entry->path), {}};
    } catch (const FileError& error) {
      damaged.emplace_back(error.what());
    }
  }
  if (found) {
    found->damaged = damaged;
  } else if (!damaged.empty()) {
    fail<FileError>("{}: none of its {} checkpoints can be read; the newest: {}", path, damaged.size(),
                    damaged.front());
  }
  return found;
}

CheckpointFolder::CheckpointFolder(const std::string& path) : path_(path) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  if (is_checkpoint(path_)) fail<FileError>("{}: is a checkpoint; name the folder that it lies in", path_);
  std::error_code failed;
  std::filesystem::create_directories(path_, failed);
  if (std::error_code none;
      failed && std::filesystem::is_symlink(path_, none) && !std::filesystem::exists(path_, none))
    fail<FileError>("{}: a link that leads nowhere", path_);
  if (failed) fail<FileError>("{}: cannot be made: {}", path_, failed.message());
  const std::string lock = path_ + "/" + kLockName;
  lock_ = FileDescriptor(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!lock_.is_open())
    fail<FileError>("{}: cannot be written: {}", path_, std::generic_category().message(errno));
  if (lock_.try_lock() == EWOULDBLOCK)
    fail<FileError>("{}: {} saves its checkpoints there; name another folder", path_, lock_.lock_holder());
  detail::remove_orphans(path_);
  const AtomicFolder probe(path_);  // throws if there can be none
}

std::vector<std::string> CheckpointFolder::list() const {
  std::vector<std::string> paths;
  for (const Entry& entry : entries_in(path_)) paths.push_back(entry.path);
  return paths;
}

std::string CheckpointFolder::free_name(int64_t step) const {
  const std::string name = fmt::format("{}{:08}", kStepPrefix, step);
  std::error_code unknown;
  std::string free = name;
  for (int other = 1; std::filesystem::exists(path_ + "/" + free, unknown); ++other)
    free = fmt::format("{}.{}", name, other);  // a former run came as far
  return free;
}

void CheckpointFolder::point(const std::string& link, const std::string& name) const {
  constexpr int kMostTries = 100;  // a process that looks for orphans takes a new link for one
  for (int tries = 0; tries < kMostTries; ++tries) {
    const std::string temporary = path_ + "/" + detail::temporary_name();
    if (::symlink(name.c_str(), temporary.c_str()) != 0) break;
    if (std::rename(temporary.c_str(), (path_ + "/" + link).c_str()) == 0) return;
    const int error = errno;
    ::unlink(temporary.c_str());
    errno = error;
    if (error != ENOENT) break;
  }
  warn_once(fmt::format("{}: the link '{}' cannot be made: {}; resuming does not need it", path_, link,
                        std::generic_category().message(errno)));
}

void CheckpointFolder::remove_old(int64_t keep) const {
  int64_t kept = 0;
  bool has_best = false;
  const std::vector<Entry> entries = entries_in(path_);
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const bool good = entry->damage.empty() && entry->order.complete;
    const bool is_best = good && entry->order.best && !has_best;
    has_best = has_best || is_best;
    if (good && kept++ < keep) continue;
    if (!is_best) AtomicFolder::remove(entry->path);
  }
}

std::string CheckpointFolder::save(const Checkpoint& checkpoint, int64_t step, bool best, int64_t keep) {
  TAPER_CHECK(keep >= 1, "CheckpointFolder: keeps at least 1 checkpoint, got {}", keep);
  const std::vector<Entry> before = entries_in(path_);
  const int64_t serial = before.empty() ? 0 : before.back().order.serial + 1;
  const std::string name = free_name(step);
  AtomicFolder folder(path_);
  write_checkpoint(folder.path(), checkpoint, {.serial = serial, .best = best});
  folder.commit(name);
  point("last", name);
  if (best) point("best", name);
  try {
    remove_old(keep);
  } catch (const FileError& error) {
    warn_once(error.what());  // the new one stands all the same
  }
  return path_ + "/" + name;
}

}  // namespace taper
