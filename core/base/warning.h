#pragma once
// Warnings: something went wrong that the library could cope with, and that the user should know. Errors
// throw (core/base/error.h); this is for the rest. PyTorch's counterpart: TORCH_WARN in c10/util/Exception.h.

#include <functional>
#include <string_view>

namespace taper {

using WarningHandler = std::function<void(std::string_view message)>;

/// Hands the message to the handler, as printable() writes it: one line. Thread-safe.
void warn(std::string_view message);
/// warn(), unless this handler was given the same line by warn_once() before.
void warn_once(std::string_view message);

/// Replaces the handler and returns the former one. The first prints "taper: warning: MESSAGE" on stderr.
WarningHandler set_warning_handler(WarningHandler handler);

}  // namespace taper
