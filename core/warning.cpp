#include "taper/core/warning.h"

#include <cstdio>
#include <mutex>
#include <utility>

#include "taper/core/printable.h"

namespace taper {
namespace {

void print_to_stderr(std::string_view message) {
  std::fprintf(stderr, "taper: warning: %.*s\n", int(message.size()), message.data());
}

struct Handler {
  std::mutex mutex;
  WarningHandler call = print_to_stderr;
};

Handler& handler() {
  static Handler& handler = *new Handler;  // outlives every static object that may warn
  return handler;
}

}  // namespace

void warn(std::string_view message) {
  const std::lock_guard lock(handler().mutex);
  handler().call(printable(message));
}

WarningHandler set_warning_handler(WarningHandler call) {
  const std::lock_guard lock(handler().mutex);
  return std::exchange(handler().call, std::move(call));
}

}  // namespace taper
