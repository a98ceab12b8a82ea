#include "taper/core/base/profile_recorder.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "taper/core/base/profile_events.h"
#include "taper/core/base/thread_object.h"

namespace taper {
namespace {

/// Without a destructor: destructors of static objects run after those of thread-local ones.
constinit thread_local std::array<char, 64> thread_name{};

/// The number of the recording that goes on; 0: none. Threads drop what they hold of an earlier one.
std::atomic<uint64_t> current_session{0};
std::atomic<uint64_t> last_correlation{0};
std::atomic<int64_t> events_left{0};
std::atomic<int64_t> dropped{0};
std::atomic<bool> wants_memory{false};

/// What one thread has recorded. Its lock is only ever contended when a recording ends.
struct ThreadRecorder {
  std::mutex mutex;
  uint64_t session = 0;
  int system_id = int(gettid());
  std::string name;
  std::vector<ProfileSpan> open;  // innermost last
  std::deque<ProfileSpan> done;
  std::deque<MemorySample> memory;

  /// Makes room for the recording that goes on. False if none does.
  bool join_session() {
    const uint64_t now = current_session;
    if (now == 0) return false;
    if (session != now) {
      session = now;
      open.clear();
      done.clear();
      memory.clear();
      name = thread_name[0] != '\0' ? thread_name.data() : system_id == getpid() ? "main" : "";
    }
    return true;
  }
};

struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<ThreadRecorder>> recorders;
};

Registry& registry() {
  static auto& registry = *new Registry;  // threads may outlive static objects
  return registry;
}

/// A thread's recorder, which the registry knows.
struct RegisteredRecorder {
  const std::shared_ptr<ThreadRecorder> recorder = std::make_shared<ThreadRecorder>();

  RegisteredRecorder() {
    const std::lock_guard lock(registry().mutex);
    registry().recorders.push_back(recorder);
  }
};

ThreadRecorder& this_thread() {
  return *thread_object<RegisteredRecorder>().recorder;
}

bool open_span(ProfileSpan span) {
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.join_session()) return false;
  if (!recorder.open.empty() && recorder.open.back().name == span.name) return false;
  span.depth = int(recorder.open.size());
  span.begin_ns = detail::profile_clock_ns();
  recorder.open.push_back(std::move(span));
  return true;
}

}  // namespace

void detail::prepare_recording(int64_t max_events, bool memory) {
  {
    const std::lock_guard lock(registry().mutex);  // threads that have ended
    std::erase_if(registry().recorders, [](const auto& recorder) { return recorder.use_count() == 1; });
  }
  events_left = max_events;
  dropped = 0;
  wants_memory = memory;
}

void detail::begin_recording() {
  static std::atomic<uint64_t> sessions{0};
  current_session = ++sessions;
  op_listeners |= kProfiler;
}

uint64_t detail::end_recording() {
  op_listeners &= ~unsigned{kProfiler};
  return current_session.exchange(0);
}

std::vector<detail::ThreadRecording> detail::take_recordings(uint64_t number, int64_t end_ns) {
  std::vector<ThreadRecording> taken;
  const std::lock_guard lock(registry().mutex);
  for (const auto& recorder : registry().recorders) {
    const std::lock_guard recorder_lock(recorder->mutex);
    if (recorder->session != number) continue;
    for (ProfileSpan& span : recorder->open) {
      span.end_ns = end_ns;
      recorder->done.push_back(std::move(span));
    }
    recorder->open.clear();
    if (recorder->done.empty() && recorder->memory.empty()) continue;
    taken.push_back({.system_id = recorder->system_id,
                     .name = recorder->name,
                     .spans = std::exchange(recorder->done, {}),
                     .memory = std::exchange(recorder->memory, {})});
  }
  return taken;
}

bool detail::take_event_room() {
  if (events_left.fetch_sub(1, std::memory_order_relaxed) > 0) return true;
  dropped.fetch_add(1, std::memory_order_relaxed);
  return false;
}

int64_t detail::dropped_events() {
  return dropped;
}

int64_t detail::profile_clock_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

unsigned detail::op_begins(std::string_view name, SpanKind kind) {
  const unsigned listeners = op_listeners.load(std::memory_order_relaxed);
  unsigned heard_by = listeners & ~unsigned{kProfiler};
  if ((heard_by & kNvtx) != 0) nvtx_tool.begin(name);
  if ((listeners & kProfiler) != 0) {
    ProfileSpan span;
    span.kind = kind;
    span.name = name;
    if (open_span(std::move(span))) heard_by |= kProfiler;
  }
  return heard_by;
}

void detail::op_ends(unsigned heard_by) noexcept {
  if ((heard_by & kNvtx) != 0) nvtx_tool.end();
  if ((heard_by & kProfiler) == 0) return;
  const int64_t now = profile_clock_ns();
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (recorder.open.empty()) return;  // the recording ended, and with it the scope's bar
  recorder.open.back().end_ns = now;
  if (take_event_room()) recorder.done.push_back(std::move(recorder.open.back()));
  recorder.open.pop_back();
}

void detail::describe_op(std::string inputs) {
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.open.empty()) recorder.open.back().inputs = std::move(inputs);
}

void detail::note_bytes(int64_t bytes) {
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.open.empty()) recorder.open.back().bytes += bytes;
}

void detail::record_memory(Device device, int64_t delta_bytes, int64_t allocated_bytes,
                           int64_t reserved_bytes) {
  if (!wants_memory.load(std::memory_order_relaxed)) return;
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.join_session() || !take_event_room()) return;
  recorder.memory.push_back({.time_ns = profile_clock_ns(),
                             .device = device,
                             .delta_bytes = delta_bytes,
                             .allocated_bytes = allocated_bytes,
                             .reserved_bytes = reserved_bytes,
                             .op = std::string(OpScope::current())});
}

void detail::CallSpan::begin(std::string_view name) {
  ProfileSpan span;
  span.kind = SpanKind::kCall;
  span.name = name;
  span.correlation = 1 + last_correlation.fetch_add(1, std::memory_order_relaxed);
  const uint64_t correlation = span.correlation;
  if (open_span(std::move(span))) correlation_ = correlation;
}

void detail::DeviceSpan::end() noexcept {
  const int64_t now = profile_clock_ns();
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.join_session() || !take_event_room()) return;
  ProfileSpan span;
  span.kind = work_.kind;
  span.name = work_.name;
  span.begin_ns = begin_ns_;
  span.end_ns = now;
  span.device = device_;
  span.stream = stream_;
  span.correlation = work_.correlation;
  span.bytes = work_.bytes;
  span.grid = work_.grid;
  span.block = work_.block;
  span.shared_bytes = work_.shared_bytes;
  recorder.done.push_back(std::move(span));
}

void set_thread_name(std::string name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  name.resize(std::min(name.size(), thread_name.size() - 1));
  std::strcpy(thread_name.data(), name.c_str());
}

}  // namespace taper
