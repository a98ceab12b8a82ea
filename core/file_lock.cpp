#include "taper/core/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "taper/core/error.h"

namespace taper {

FileLock::FileLock(const std::string& path) {
  const std::string lock_path = path + ".lock";
  fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  int result = fd_ < 0 ? -1 : 0;
  while (fd_ >= 0 && (result = ::flock(fd_, LOCK_EX)) != 0 && errno == EINTR) {
  }
  if (result == 0) return;
  const int error = errno;
  if (fd_ >= 0) ::close(fd_);
  fail<FileError>("{}: cannot be locked: {}", lock_path, std::generic_category().message(error));
}

FileLock::~FileLock() {
  ::close(fd_);
}

}  // namespace taper
