#include "taper/core/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "taper/core/error.h"

namespace taper {
namespace {

/// Makes the renaming itself durable. File systems that cannot flush a folder say so; nothing is lost by it.
void flush_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

/// "folder/name" -> {"folder/", "name"}.
std::pair<std::string, std::string> split_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  return {path.substr(0, name), path.substr(name)};
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<int> counter{0};  // tells apart the threads that write the same path
  const auto [folder, name] = split_path(path_);
  temporary_path_ = fmt::format("{}.{}.{}-{}.tmp", folder, name, ::getpid(), counter++);
  fd_ = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_to_write(errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void AtomicFile::write(const void* data, size_t size_bytes) {
  constexpr size_t kMostAtOnce = size_t(1) << 30;  // Linux writes less than 2 GiB a call
  const char* next = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t written = ::write(fd_, next, std::min(size_bytes, kMostAtOnce));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_to_write(errno);
    }
    next += written;
    size_bytes -= size_t(written);
  }
}

void AtomicFile::commit() {
  // Some file systems (pipes of a container, old FUSE) have nothing to flush and answer EINVAL.
  if (::fsync(fd_) != 0 && errno != EINVAL) fail_to_write(errno);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) fail_to_write(errno);
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail_to_write(errno);
  temporary_path_.clear();
  const std::string folder = split_path(path_).first;
  flush_folder(folder.empty() ? "." : folder);
}

void AtomicFile::fail_to_write(int error) const {
  fail<FileError>("{}: cannot be written: {}", path_, std::generic_category().message(error));
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace taper
