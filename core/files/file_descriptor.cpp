#include "taper/core/files/file_descriptor.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <new>
#include <sstream>

namespace taper {

int FileDescriptor::read(std::string& content) const {
  char buffer[16384];
  for (;;) {
    const ssize_t size = ::read(fd_, buffer, sizeof buffer);
    if (size == 0) return 0;
    if (size < 0 && errno != EINTR) return errno;
    try {
      if (size > 0) content.append(buffer, size_t(size));
    } catch (const std::bad_alloc&) {
      return ENOMEM;
    }
  }
}

int FileDescriptor::write(const void* data, size_t size_bytes) const {
  constexpr size_t kMostAtOnce = size_t(1) << 30;  // Linux writes less than 2 GiB a call
  const char* next = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t written = ::write(fd_, next, std::min(size_bytes, kMostAtOnce));
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    next += written;
    size_bytes -= size_t(written);
  }
  return 0;
}

int FileDescriptor::try_lock() const {
  while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

// A line of /proc/locks is "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF".
std::string FileDescriptor::lock_holder() const {
  struct stat status = {};
  if (::fstat(fd_, &status) != 0) return "another process";
  const std::string inode = fmt::format(":{}", status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, manner, access, process, what;
    words >> number >> kind >> manner >> access >> process >> what;
    // Compares the inode alone, because layered file systems show another device here than fstat() does.
    if (kind != "FLOCK" || process == "-1" || !what.ends_with(inode)) continue;
    std::string name;
    std::getline(std::ifstream("/proc/" + process + "/comm"), name);
    return fmt::format("process {}{}", process, name.empty() ? "" : " (" + name + ")");
  }
  return "another process";
}

int FileDescriptor::close() {
  const int fd = std::exchange(fd_, -1);
  return fd >= 0 && ::close(fd) != 0 ? errno : 0;
}

}  // namespace taper
