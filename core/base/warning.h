#pragma once
// Warnings: something went wrong that the library could handle and the user should know about. Everything
// worse throws an Error (core/base/error.h). PyTorch's counterpart: TORCH_WARN in c10/util/Exception.h.

#include <functional>
#include <string_view>

namespace taper {

using WarningHandler = std::function<void(std::string_view message)>;

/// Passes the message, made one line by printable(), to the handler. Thread-safe.
void warn(std::string_view message);
/// As warn(), unless warn_once() has given this handler an equal line before.
void warn_once(std::string_view message);

/// Replaces the handler and returns the former one. The initial handler prints "taper: warning: MESSAGE" on
/// stderr.
WarningHandler set_warning_handler(WarningHandler handler);

}  // namespace taper
