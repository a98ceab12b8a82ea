#include "taper/core/file_descriptor.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace taper {

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

int FileDescriptor::close() {
  const int fd = std::exchange(fd_, -1);
  return fd >= 0 && ::close(fd) != 0 ? errno : 0;
}

}  // namespace taper
