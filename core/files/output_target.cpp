#include "taper/core/files/output_target.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "taper/core/base/error.h"

namespace taper {
namespace {

bool is_same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Links in /proc stand for a process's open files: their text is not where they lead.
bool is_in_proc(const std::string& folder) {
  struct statfs file_system = {};
  return ::statfs(folder.c_str(), &file_system) == 0 && file_system.f_type == PROC_SUPER_MAGIC;
}

}  // namespace

OutputTarget::OutputTarget(const std::string& path) : given_(path), path_(path) {
  follow_links();
  struct stat status = {};
  if (::stat(path_.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) fail_to_write(EISDIR);
    status_ = status;
    is_stream_ = is_stream_ || !S_ISREG(status.st_mode);
  } else if (errno != ENOENT || is_stream_ || path_.empty() || path_.back() == '/') {
    fail_to_write(errno);
  }
  for (const int fd : {STDERR_FILENO, STDOUT_FILENO}) {
    struct stat standard = {};
    if (!status_ || ::fstat(fd, &standard) != 0 || !is_same(status, standard)) continue;
    is_stream_ = true;
    standard_fd_ = fd;
  }
}

void OutputTarget::follow_links() {
  constexpr int kMostLinks = 40;  // the kernel's own limit
  for (int links = 0;; ++links) {
    std::error_code is_no_link;
    const std::filesystem::path next = std::filesystem::read_symlink(path_, is_no_link);
    if (is_no_link) return;
    if (links == kMostLinks) fail_to_write(ELOOP);
    is_stream_ = is_in_proc(folder());
    if (is_stream_) return;
    path_ = next.is_absolute() ? next.string() : folder() + next.string();
  }
}

std::string OutputTarget::folder() const {
  const size_t slash = path_.rfind('/');
  return slash == std::string::npos ? "./" : path_.substr(0, slash + 1);
}

bool OutputTarget::is_same_file(const OutputTarget& other) const {
  if (is_stream_ || other.is_stream_ || status_.has_value() != other.status_.has_value()) return false;
  if (status_) return is_same(*status_, *other.status_);
  const auto name = [](const std::string& path) { return path.substr(path.rfind('/') + 1); };
  struct stat mine = {}, theirs = {};
  return name(path_) == name(other.path_) && ::stat(folder().c_str(), &mine) == 0 &&
         ::stat(other.folder().c_str(), &theirs) == 0 && is_same(mine, theirs);
}

FileDescriptor OutputTarget::open_stream() const {
  constexpr int kFirstFree = 3;
  if (standard_fd_ >= 0) std::fflush(standard_fd_ == STDOUT_FILENO ? stdout : stderr);
  FileDescriptor stream(standard_fd_ >= 0
                            ? ::fcntl(standard_fd_, F_DUPFD_CLOEXEC, kFirstFree)
                            : ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY));
  if (!stream.is_open()) fail_to_write(errno);
  return stream;
}

void OutputTarget::check_stream() const {
  if (standard_fd_ < 0 && ::faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0) fail_to_write(errno);
}

void OutputTarget::fail_to_write(int error) const {
  fail<FileError>("{}{}: cannot be written: {}", given_,
                  path_ == given_ ? "" : fmt::format(" (a link to {})", path_),
                  std::generic_category().message(error));
}

}  // namespace taper
