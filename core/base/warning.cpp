#include "taper/core/base/warning.h"

#include <cstdio>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "taper/core/base/printable.h"

namespace taper {
namespace {

void print_to_stderr(std::string_view message) {
  std::fprintf(stderr, "taper: warning: %.*s\n", int(message.size()), message.data());
}

struct Handler {
  std::recursive_mutex mutex;  // a handler may warn, or replace itself
  WarningHandler call = print_to_stderr;
  std::set<std::string, std::less<>> said_once;
};

Handler& handler() {
  static Handler& handler = *new Handler;  // outlives every static object that may warn
  return handler;
}

}  // namespace

void warn(std::string_view message) {
  const std::lock_guard lock(handler().mutex);
  const WarningHandler call = handler().call;
  call(printable(message));
}

void warn_once(std::string_view message) {
  const std::lock_guard lock(handler().mutex);
  if (handler().said_once.emplace(message).second) warn(message);
}

WarningHandler set_warning_handler(WarningHandler call) {
  const std::lock_guard lock(handler().mutex);
  handler().said_once.clear();
  return std::exchange(handler().call, std::move(call));
}

}  // namespace taper
