#pragma once  // spine 3 (docs/0-the-spine.md)
// Errors of the library: what failed, what it got, what it needed, and the way out.
//
// Library code throws; it never prints and never exits. TAPER_CHECK guards the public functions ("check at
// the door"); code behind the door trusts what came in. PyTorch's counterpart: c10/util/Exception.h.

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace taper {

/// A wrong argument or a failed operation. The message is one line and names the fix where there is one.
class Error : public std::runtime_error {
 public:
  /// Passes the message through printable(), because it may quote names that come from files.
  explicit Error(const std::string& message);
};

/// Memory ran out. The message says how much was asked for and how much is held.
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

/// Work that a graph cannot hold (gpu::begin_capture): the host would have to wait for it, or to do its part again at
/// each replay. The message begins with the op.
class CaptureError : public Error {
 public:
  using Error::Error;
};

/// A file is missing, unreadable, damaged or of another format. The message begins with its path.
class FileError : public Error {
 public:
  using Error::Error;
};

/// Throws E with a message formatted as by fmt: fail<FileError>("{}: {} bytes is too short", path, n).
template <class E = Error, class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace taper

/// Throws taper::Error with the formatted message unless `condition` holds. Shapes, dtypes and devices
/// format with {}: TAPER_CHECK(x.dim() == 4, "conv2d: input must be [N, C, H, W], got {}", x.shape()).
#define TAPER_CHECK(condition, ...)               \
  do {                                            \
    if (!(condition)) [[unlikely]] {              \
      ::taper::fail<::taper::Error>(__VA_ARGS__); \
    }                                             \
  } while (false)
