#include "taper/core/files/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "taper/core/files/temporary_name.h"

namespace taper {

AtomicFile::AtomicFile(const std::string& path) : AtomicFile(OutputTarget(path)) {}

AtomicFile::AtomicFile(OutputTarget target) : target_(std::move(target)) {
  if (target_.is_stream()) {
    fd_ = target_.open_stream();
  } else {
    detail::remove_orphans(target_.folder());
    create_temporary_file();
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void AtomicFile::create_temporary_file() {
  const mode_t mode = target_.status() ? target_.status()->st_mode & 0777 : 0666;
  constexpr int kMostTries = 1000;
  for (int tries = 0; tries < kMostTries; ++tries) {
    const std::string path = target_.folder() + detail::temporary_name();
    fd_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!fd_.is_open() && errno == EEXIST) continue;
    if (!fd_.is_open()) target_.fail_to_write(errno);
    if (detail::was_taken_for_an_orphan(fd_)) {
      ::unlink(path.c_str());
      continue;
    }
    temporary_path_ = path;
    return;
  }
  target_.fail_to_write(EEXIST);
}

void AtomicFile::write(const void* data, size_t size_bytes) {
  if (const int error = fd_.write(data, size_bytes)) target_.fail_to_write(error);
}

void AtomicFile::rename_to(const std::string& path) {
  if (std::rename(temporary_path_.c_str(), path.c_str()) != 0) target_.fail_to_write(errno);
}

void AtomicFile::commit() {
  if (!target_.is_stream()) {
    if (const auto& old = target_.status()) {
      // Only the administrator may give files away; any other user who replaces a file becomes its owner.
      [[maybe_unused]] const int ignored = ::fchown(fd_.get(), old->st_uid, old->st_gid);
      ::fchmod(fd_.get(), old->st_mode & 0777);
    }
    // Some file systems (old FUSE) have nothing to flush and answer EINVAL.
    if (::fsync(fd_.get()) != 0 && errno != EINVAL) target_.fail_to_write(errno);
    rename_to(target_.path());
    temporary_path_.clear();
    detail::flush_folder(target_.folder());
  }
  if (const int error = fd_.close()) target_.fail_to_write(error);
}

void AtomicFile::check(const std::string& path) {
  const OutputTarget target(path);
  if (target.is_stream()) return target.check_stream();
  AtomicFile file(target);
  const std::string other = target.folder() + detail::temporary_name();
  file.rename_to(other);
  file.temporary_path_ = other;
  // A file may be protected from being replaced, by the sticky bit of its folder or by being immutable.
  // rmdir() checks that protection first, and only then fails because the file is not a folder.
  if (target.status() && ::rmdir(target.path().c_str()) != 0 && errno != ENOTDIR && errno != ENOENT)
    target.fail_to_write(errno);
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace taper
