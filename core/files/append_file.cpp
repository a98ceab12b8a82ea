#include "taper/core/files/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "taper/core/base/error.h"

namespace taper {

AppendFile::AppendFile(const std::string& path, const std::function<size_t(std::string_view content)>& keep)
    : target_(path) {
  if (target_.is_stream()) {
    fd_ = target_.open_stream();
    return;
  }
  fd_ = FileDescriptor(
      ::open(target_.path().c_str(), (keep ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!fd_.is_open()) target_.fail_to_write(errno);
  if (fd_.try_lock() == EWOULDBLOCK)
    fail<FileError>("{}: {} is writing it; name another file", path, fd_.lock_holder());
  std::string content;
  if (keep) {
    if (const int error = fd_.read(content)) target_.fail_to_write(error);
    size_bytes_ = int64_t(keep(content));
    if (size_bytes_ == int64_t(content.size())) return;
  }
  if (::ftruncate(fd_.get(), size_bytes_) != 0) target_.fail_to_write(errno);
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
