#include "taper/core/append_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "taper/core/error.h"

namespace taper {
namespace {

/// "process 1234 (resnet50_train)": who has the lock of this file, as far as the system tells.
std::string holder_of(const FileDescriptor& file) {
  struct stat status = {};
  ::fstat(file.get(), &status);
  const std::string wanted =
      fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, manner, access, process, what;
    words >> number >> kind >> manner >> access >> process >> what;
    if (kind != "FLOCK" || what != wanted) continue;
    std::string name;
    std::getline(std::ifstream("/proc/" + process + "/comm"), name);
    return fmt::format("process {}{}", process, name.empty() ? "" : " (" + name + ")");
  }
  return "another process";
}

}  // namespace

AppendFile::AppendFile(const std::string& path) : target_(path) {
  if (target_.is_stream()) {
    fd_ = target_.open_stream();
    return;
  }
  fd_ = FileDescriptor(::open(target_.path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!fd_.is_open()) target_.fail_to_write(errno);
  if (fd_.try_lock() == EWOULDBLOCK)
    fail<FileError>("{}: {} is writing it; name another file", path, holder_of(fd_));
  if (::ftruncate(fd_.get(), 0) != 0) target_.fail_to_write(errno);
}

void AppendFile::write(std::string_view text) {
  const int error = fd_.write(text.data(), text.size());
  if (error == 0) {
    size_bytes_ += int64_t(text.size());
    return;
  }
  [[maybe_unused]] const int ignored = ::ftruncate(fd_.get(), size_bytes_);  // fails on a stream
  target_.fail_to_write(error);
}

}  // namespace taper
