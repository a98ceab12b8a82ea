#include "taper/core/files/file_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <system_error>

#include "taper/core/base/error.h"

namespace taper {
namespace {

constexpr long kPauseNanoseconds = 10'000'000;

std::string reason(int error) {
  if (error == ELOOP) return "it is a link";
  return std::generic_category().message(error);
}

}  // namespace

FileLock::FileLock(const std::string& path, double patience_seconds) {
  using Clock = std::chrono::steady_clock;
  const std::string lock_path = path + ".lock";
  // Without O_NOFOLLOW, anybody who may write to the folder could point a link at a file of this user's.
  file_ = FileDescriptor(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file_.is_open()) fail<FileError>("{}: cannot be locked: {}", lock_path, reason(errno));
  const auto end = Clock::now() + std::chrono::duration<double>(patience_seconds);
  bool interrupted = false;
  while (const int error = file_.try_lock()) {
    std::string why;
    if (error != EWOULDBLOCK)
      why = reason(error);
    else if (interrupted)
      why = fmt::format("{} holds it, and a signal ended the wait", file_.lock_holder());
    else if (Clock::now() >= end)
      why = fmt::format("{} has held it for {:g} s", file_.lock_holder(), patience_seconds);
    if (!why.empty()) fail<FileError>("{}: cannot be locked: {}", lock_path, why);
    // Does not wait in flock(), which would continue after a signal whose handler has SA_RESTART.
    const timespec pause = {.tv_sec = 0, .tv_nsec = kPauseNanoseconds};
    interrupted = ::nanosleep(&pause, nullptr) != 0;
  }
}

}  // namespace taper
