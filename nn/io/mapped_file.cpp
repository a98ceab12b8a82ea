#include "taper/nn/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/files/file_descriptor.h"

namespace taper {
namespace {

[[noreturn]] void fail_to_read(const std::string& path, int error) {
  fail<FileError>("{}: cannot be read: {}", path, std::generic_category().message(error));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for its writer before the pipe is rejected.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open()) fail_to_read(path, errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail_to_read(path, errno);
  if (!S_ISREG(status.st_mode)) fail<FileError>("{}: cannot be read: it is not a regular file", path);
  if (status.st_size == 0) return;
  size_bytes_ = size_t(status.st_size);
  void* pages = ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
  if (pages == MAP_FAILED) fail_to_read(path, errno);
  data_ = static_cast<char*>(pages);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

}  // namespace taper
