#pragma once
// An open file of the operating system, owned. The classes that read, write and lock files are made of it.

#include <cstddef>
#include <string>
#include <utility>

namespace taper {

class FileDescriptor {
 public:
  /// Takes ownership of `fd`. A negative number means no file.
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

  /// Appends the rest of the file to `content`. Returns 0, or the errno of the failure (ENOMEM for a file that
  /// does not fit in memory).
  int read(std::string& content) const;
  /// Writes all bytes. Returns 0, or the errno of the failure.
  int write(const void* data, size_t size_bytes) const;
  /// Takes the file's lock (flock) if nobody has it. Returns 0, EWOULDBLOCK if somebody has it, or the errno
  /// of a file system without locks.
  int try_lock() const;
  /// Returns who holds the file's lock, as far as the system tells: "process 1234 (resnet50_train)".
  std::string lock_holder() const;
  /// Closes the file. Returns 0, or the errno of a file system that reports a failed write only now.
  int close();

 private:
  int fd_;
};

}  // namespace taper
