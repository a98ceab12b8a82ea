#include "taper/core/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <system_error>

#include "taper/core/error.h"

namespace taper {
namespace {

constexpr long kPauseNanoseconds = 10'000'000;

std::string reason(int error) {
  if (error == ELOOP) return "it is a link";
  return std::generic_category().message(error);
}

/// Who holds a lock on the open file, as /proc/locks and /proc/PID/comm tell: "process 1234 (sleep)". Lines
/// look like "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF".
std::string holder_of(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return "another process";
  const std::string inode = fmt::format(":{}", status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream fields(line);
    std::string number, kind, mode, access, place;
    long pid = 0;
    if (!(fields >> number >> kind >> mode >> access >> pid >> place) || kind != "FLOCK" || pid <= 0)
      continue;
    if (!place.ends_with(inode)) continue;
    std::string name;
    std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
    return name.empty() ? fmt::format("process {}", pid) : fmt::format("process {} ({})", pid, name);
  }
  return "another process";
}

}  // namespace

FileLock::FileLock(const std::string& path, double patience_seconds) {
  using Clock = std::chrono::steady_clock;
  const std::string lock_path = path + ".lock";
  // Whoever may write to the folder could point a link at a file of this user's.
  fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail<FileError>("{}: cannot be locked: {}", lock_path, reason(errno));
  const auto end = Clock::now() + std::chrono::duration<double>(patience_seconds);
  bool interrupted = false;
  while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    std::string why;
    if (error != EWOULDBLOCK && error != EINTR)
      why = reason(error);
    else if (interrupted)
      why = fmt::format("{} holds it, and a signal ended the wait", holder_of(fd_));
    else if (Clock::now() >= end)
      why = fmt::format("{} has held it for {:g} s", holder_of(fd_), patience_seconds);
    if (!why.empty()) {
      ::close(fd_);
      fail<FileError>("{}: cannot be locked: {}", lock_path, why);
    }
    // Not a wait in flock(), which would go on after a signal whose handler has SA_RESTART.
    const timespec pause = {.tv_sec = 0, .tv_nsec = kPauseNanoseconds};
    interrupted = ::nanosleep(&pause, nullptr) != 0;
  }
}

FileLock::~FileLock() {
  ::close(fd_);
}

}  // namespace taper
