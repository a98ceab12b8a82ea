#pragma once
// Which operation this thread is in. Memory reports say so for every block, profiles draw it as a bar.
// PyTorch's counterpart: at::RecordFunction (ATen/record_function.h).

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace taper {

/// What a bar in a profile stands for: scopes of the program; the algorithm that an op has chosen; a thread's
/// share of a parallel loop; calls of the GPU's runtime; work on a GPU stream.
enum class SpanKind : uint8_t {
  kOp,
  kBackward,
  kOptimizer,
  kData,
  kStep,
  kAlgorithm,
  kParallel,
  kCall,
  kKernel,
  kCopy,
  kFill
};

namespace detail {

/// Who wants to hear of scopes; 0, and nothing is called. kProfiler and kNvtx are bits. Each listener at the
/// ops' doorway (autograd/tape/tape.h) adds kDoorway.
enum OpListener : unsigned { kProfiler = 1, kNvtx = 2, kDoorway = 4 };
extern constinit std::atomic<unsigned> op_listeners;

/// True while a Profiler records.
inline bool profiler_records() {
  return (op_listeners.load(std::memory_order_relaxed) & kProfiler) != 0;
}

/// Listens at the ops' doorway while it lives. Ops of other threads then look for a listener of their own
/// thread, and find none.
class DoorwayListener {
 public:
  DoorwayListener() { op_listeners += kDoorway; }
  ~DoorwayListener() { op_listeners -= kDoorway; }
  DoorwayListener(const DoorwayListener&) = delete;
  DoorwayListener& operator=(const DoorwayListener&) = delete;
};

/// What to call where an op begins and ends while kNvtx listens.
struct RangeTool {
  void (*begin)(std::string_view name) = nullptr;
  void (*end)() = nullptr;
};
inline constinit RangeTool nvtx_tool;  // set before kNvtx is

/// Tells the listeners; returns those that want to hear of the end.
unsigned op_begins(std::string_view name, SpanKind kind);
void op_ends(unsigned heard_by) noexcept;
/// Of the innermost scope on this thread that a Profiler records.
void describe_op(std::string inputs);

}  // namespace detail

/// Names an operation for a scope. Scopes nest; the innermost counts. Costs two moves of a pointer pair and,
/// while nothing listens, one relaxed load.
class OpScope {
 public:
  /// `name` is kept as it is, also after the scope: a literal, or what intern() returned.
  explicit OpScope(std::string_view name, SpanKind kind = SpanKind::kOp) : outer_(current_) {
    current_ = name;
    if (detail::op_listeners.load(std::memory_order_relaxed) != 0) [[unlikely]]
      heard_by_ = detail::op_begins(name, kind);
  }
  ~OpScope() {
    current_ = outer_;
    if (heard_by_ != 0) [[unlikely]]
      detail::op_ends(heard_by_);
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

  /// The innermost name on this thread; empty outside all scopes.
  static std::string_view current() { return current_; }

  /// The name of the scope around this one; empty outside all others.
  std::string_view outer() const { return outer_; }

  /// True if somebody listened when the scope began: a Profiler, NVTX or a listener at the doorway.
  bool is_heard() const { return heard_by_ != 0; }
  /// True while a Profiler records this very scope: it then takes describe(). False too in a scope inside one
  /// of the same name, which would say nothing new.
  bool is_recorded() const { return (heard_by_ & detail::kProfiler) != 0; }
  /// What the operation works on, for the profile: "f32 [8, 3, 32, 32]". Only if is_recorded(), and before
  /// other scopes begin inside.
  void describe(std::string inputs) const { detail::describe_op(std::move(inputs)); }

 private:
  static inline constinit thread_local std::string_view current_;
  std::string_view outer_;
  unsigned heard_by_ = 0;
};

/// A bar in profiles that names no operation: what happens inside still belongs to the op around it.
class SpanScope {
 public:
  SpanScope(std::string_view name, SpanKind kind) {
    if (detail::op_listeners.load(std::memory_order_relaxed) != 0) [[unlikely]]
      heard_by_ = detail::op_begins(name, kind);
  }
  ~SpanScope() {
    if (heard_by_ != 0) [[unlikely]]
      detail::op_ends(heard_by_);
  }
  SpanScope(const SpanScope&) = delete;
  SpanScope& operator=(const SpanScope&) = delete;

 private:
  unsigned heard_by_ = 0;
};

/// A copy of `name` that is never freed; equal names share one. Thread-safe.
std::string_view intern(std::string_view name);

}  // namespace taper
