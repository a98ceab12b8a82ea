#include "taper/core/files/atomic_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/files/temporary_name.h"

namespace taper {
namespace {

constexpr mode_t kFolderMode = 0777;  // less the user's umask

[[noreturn]] void fail_to_write_folder(const std::string& path, int error) {
  fail<FileError>("{}: cannot be written: {}", path, std::generic_category().message(error));
}

/// Renames `from` to `to`, where nothing may be.
void rename_folder(const std::string& from, const std::string& to) {
  struct stat status = {};
  if (::lstat(to.c_str(), &status) == 0) fail_to_write_folder(to, EEXIST);
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_to_write_folder(to, errno);
}

}  // namespace

AtomicFolder::AtomicFolder(const std::string& parent) : parent_(parent) {
  constexpr int kMostTries = 1000;
  for (int tries = 0; tries < kMostTries; ++tries) {
    const std::string path = parent_ + "/" + detail::temporary_name();
    if (::mkdir(path.c_str(), kFolderMode) != 0) {
      if (errno == EEXIST) continue;
      fail_to_write_folder(parent_, errno);
    }
    fd_ = FileDescriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd_.is_open() && errno == ENOENT) continue;  // removed as an orphan
    if (!fd_.is_open() || detail::was_taken_for_an_orphan(fd_)) {
      ::rmdir(path.c_str());
      continue;
    }
    temporary_path_ = path;
    return;
  }
  fail_to_write_folder(parent_, EEXIST);
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_path_.empty()) std::filesystem::remove_all(temporary_path_, ignored);
}

void AtomicFolder::commit(const std::string& name) {
  detail::flush_folder(temporary_path_);
  rename_folder(temporary_path_, parent_ + "/" + name);
  temporary_path_.clear();
  detail::flush_folder(parent_);
}

void AtomicFolder::remove(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string temporary = (parent.empty() ? "." : parent.native()) + "/" + detail::temporary_name();
  rename_folder(path, temporary);
  std::error_code failed;
  std::filesystem::remove_all(temporary, failed);
  if (failed) fail<FileError>("{}: cannot be removed: {}", path, failed.message());
}

}  // namespace taper
