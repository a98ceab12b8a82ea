#pragma once
// Which operation this thread is in. Memory reports say so for every block, profiles for every kernel.
// PyTorch's counterpart: at::RecordFunction (ATen/record_function.h), which calls back; this only remembers.

#include <string_view>

namespace taper {

/// Names an operation for a scope. Scopes nest; the innermost counts. Costs two moves of a pointer pair.
class OpScope {
 public:
  /// `name` is kept as it is, also after the scope: a literal, or what intern() returned.
  explicit OpScope(std::string_view name) : outer_(current_) { current_ = name; }
  ~OpScope() { current_ = outer_; }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  /// The innermost name on this thread; empty outside all scopes.
  static std::string_view current() { return current_; }

 private:
  static inline constinit thread_local std::string_view current_;
  std::string_view outer_;
};

/// A copy of `name` that is never freed; equal names share one. Thread-safe.
std::string_view intern(std::string_view name);

}  // namespace taper
