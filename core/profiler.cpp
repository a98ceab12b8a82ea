#include "taper/core/profiler.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "taper/core/algorithm_cache.h"
#include "taper/core/error.h"
#include "taper/core/gpu/device_profiler.h"
#include "taper/core/gpu/nvtx.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/profile_events.h"
#include "taper/core/tensor.h"
#include "taper/core/thread_object.h"

namespace taper {
namespace {

/// Without a destructor: destructors of static objects run after those of thread-local ones.
constinit thread_local std::array<char, 64> thread_name{};

/// The number of the recording that goes on; 0: none. Threads drop what they hold of an earlier one.
std::atomic<uint64_t> session{0};
std::atomic<bool> one_records{false};
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
    const uint64_t now = taper::session;
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

/// Counts one more event; false if there is no room for it.
bool take_room() {
  if (events_left.fetch_sub(1, std::memory_order_relaxed) > 0) return true;
  dropped.fetch_add(1, std::memory_order_relaxed);
  return false;
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

/// What work on GPUs belongs to: the innermost op around the call that set it off.
bool names_an_op(SpanKind kind) {
  return kind == SpanKind::kOp || kind == SpanKind::kBackward || kind == SpanKind::kOptimizer ||
         kind == SpanKind::kData;
}

/// What set off a piece of work on a GPU.
struct Cause {
  const std::string* op;
  const ProfileSpan* moves_bytes;  ///< the innermost op around the call whose bytes are known, or null
};

/// Gives each kernel its share of the bytes that its op moves.
void share_bytes(const std::vector<std::pair<ProfileSpan*, const ProfileSpan*>>& kernels_and_ops) {
  std::unordered_map<const ProfileSpan*, int64_t> ns_of_op;
  for (const auto& [kernel, op] : kernels_and_ops) ns_of_op[op] += kernel->end_ns - kernel->begin_ns;
  for (const auto& [kernel, op] : kernels_and_ops) {
    const double share =
        double(kernel->end_ns - kernel->begin_ns) / double(std::max<int64_t>(ns_of_op[op], 1));
    kernel->bytes = int64_t(double(op->bytes) * share);
  }
}

/// Sets depths of the bars on host threads, and the ops of calls and of the work they set off.
void relate(std::vector<ProfileSpan>& spans) {
  std::unordered_map<uint64_t, Cause> causes;
  std::vector<std::pair<ProfileSpan*, const ProfileSpan*>> kernels_and_ops;
  std::vector<const ProfileSpan*> around;
  for (ProfileSpan& span : spans) {
    if (span.thread < 0) {
      const auto found = causes.find(span.correlation);
      if (found == causes.end()) continue;
      span.op = *found->second.op;
      if (span.kind == SpanKind::kKernel && found->second.moves_bytes != nullptr)
        kernels_and_ops.emplace_back(&span, found->second.moves_bytes);
      continue;
    }
    while (!around.empty() &&
           (around.back()->thread != span.thread || around.back()->end_ns <= span.begin_ns))
      around.pop_back();
    span.depth = int(around.size());
    if (span.kind == SpanKind::kCall) {
      const auto innermost = [&](auto&& condition) {
        const auto found = std::find_if(around.rbegin(), around.rend(), condition);
        return found == around.rend() ? nullptr : *found;
      };
      if (const ProfileSpan* op = innermost([](const auto* outer) { return names_an_op(outer->kind); }))
        span.op = op->name;
      if (span.correlation != 0)
        causes.emplace(span.correlation,
                       Cause{&span.op, innermost([](const auto* outer) { return outer->bytes > 0; })});
    }
    around.push_back(&span);
  }
  share_bytes(kernels_and_ops);
}

/// Host threads first, streams after; on each by time, outer bars before inner.
bool comes_before(const ProfileSpan& a, const ProfileSpan& b) {
  const auto key = [](const ProfileSpan& span) {
    return std::tuple(span.thread < 0, span.thread, span.device, span.stream, span.begin_ns, -span.end_ns,
                      span.depth);
  };
  return key(a) < key(b);
}

/// Gathers what the threads hold. The recording is over for them.
class Collector {
 public:
  explicit Collector(int64_t end_ns) : end_ns_(end_ns) {}

  void add(ThreadRecorder& recorder, uint64_t of_session) {
    const std::lock_guard lock(recorder.mutex);
    if (recorder.session != of_session) return;
    for (ProfileSpan& span : recorder.open) {
      span.end_ns = end_ns_;
      recorder.done.push_back(std::move(span));
    }
    recorder.open.clear();
    if (recorder.done.empty() && recorder.memory.empty()) return;
    const int thread = thread_of(recorder.system_id, recorder.name);
    for (ProfileSpan& span : recorder.done) {
      if (span.device < 0) span.thread = thread;
      profile_.spans.push_back(std::move(span));
    }
    for (MemorySample& sample : recorder.memory) {
      sample.thread = thread;
      profile_.memory.push_back(std::move(sample));
    }
    recorder.done.clear();
    recorder.memory.clear();
  }

  void add(std::vector<ProfileSpan> from_device) {
    for (ProfileSpan& span : from_device) {
      if (!take_room()) continue;
      if (span.device < 0) span.thread = thread_of(span.thread, "");
      profile_.spans.push_back(std::move(span));
    }
  }

  Profile finish(int64_t start_ns) {
    for (ProfileSpan& span : profile_.spans) {
      span.begin_ns = std::clamp(span.begin_ns, start_ns, end_ns_) - start_ns;
      span.end_ns = std::clamp(span.end_ns, start_ns, end_ns_) - start_ns;
      if (span.device < 0) continue;
      const auto device = size_t(span.device);
      if (profile_.devices.size() <= device) profile_.devices.resize(device + 1);
      if (profile_.devices[device].empty()) profile_.devices[device] = gpu::properties(span.device).name;
    }
    for (MemorySample& sample : profile_.memory) sample.time_ns -= start_ns;
    std::stable_sort(profile_.spans.begin(), profile_.spans.end(), comes_before);
    std::stable_sort(profile_.memory.begin(), profile_.memory.end(),
                     [](const auto& a, const auto& b) { return a.time_ns < b.time_ns; });
    relate(profile_.spans);
    profile_.duration_ns = end_ns_ - start_ns;
    profile_.dropped = dropped;
    return std::move(profile_);
  }

 private:
  int thread_of(int system_id, const std::string& name) {
    const auto [entry, is_new] = index_.try_emplace(system_id, int(profile_.threads.size()));
    if (is_new) profile_.threads.push_back(name.empty() ? fmt::format("thread {}", system_id) : name);
    return entry->second;
  }

  int64_t end_ns_;
  Profile profile_;
  std::map<int, int> index_;  // by the system's number
};

}  // namespace

int64_t detail::profile_clock_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// -------------------------------------------------------------------------------- what the program tells

unsigned detail::op_begins(std::string_view name, SpanKind kind) {
  const unsigned listeners = op_listeners.load(std::memory_order_relaxed);
  unsigned heard_by = listeners & kNvtx;
  if (heard_by != 0) gpu::detail::nvtx_push(name);
  if ((listeners & kProfiler) != 0) {
    ProfileSpan span;
    span.kind = kind;
    span.name = name;
    if (open_span(std::move(span))) heard_by |= kProfiler;
  }
  return heard_by;
}

void detail::op_ends(unsigned heard_by) noexcept {
  if ((heard_by & kNvtx) != 0) gpu::detail::nvtx_pop();
  if ((heard_by & kProfiler) == 0) return;
  const int64_t now = profile_clock_ns();
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (recorder.open.empty()) return;  // the recording ended, and with it the scope's bar
  recorder.open.back().end_ns = now;
  if (take_room()) recorder.done.push_back(std::move(recorder.open.back()));
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

void detail::note_bytes(std::span<const Tensor> tensors) {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors)
    if (tensor.defined()) bytes += int64_t(tensor.size_bytes());
  note_bytes(bytes);
}

void detail::record_memory(Device device, int64_t delta_bytes, int64_t allocated_bytes,
                           int64_t reserved_bytes) {
  if (!wants_memory.load(std::memory_order_relaxed)) return;
  ThreadRecorder& recorder = this_thread();
  const std::lock_guard lock(recorder.mutex);
  if (!recorder.join_session() || !take_room()) return;
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
  if (!recorder.join_session() || !take_room()) return;
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

// ---------------------------------------------------------------------------------------------- Profiler

Profiler::Profiler(ProfilerOptions options) {
  static std::atomic<uint64_t> sessions{0};
  TAPER_CHECK(options.max_events > 0, "Profiler: max_events is {}; at least 1 is needed", options.max_events);
  TAPER_CHECK(!one_records.exchange(true), "Profiler: another one is recording; stop() it first");
  recording_ = true;
  {
    const std::lock_guard lock(registry().mutex);  // threads that have ended
    std::erase_if(registry().recorders, [](const auto& recorder) { return recorder.use_count() == 1; });
  }
  events_left = options.max_events;
  dropped = 0;
  wants_memory = options.memory;
  note_ = gpu::detail::start_device_profiling();
  algorithms_before_ = algorithm_cache().statistics();
  start_ns_ = detail::profile_clock_ns();
  session = ++sessions;
  detail::op_listeners |= detail::kProfiler;
}

uint64_t Profiler::end_recording() {
  recording_ = false;
  detail::op_listeners &= ~unsigned{detail::kProfiler};
  return session.exchange(0);
}

Profiler::~Profiler() {
  if (!recording_) return;
  end_recording();
  try {
    gpu::detail::stop_device_profiling();
  } catch (const Error&) {  // work on the device failed; whoever waits for it next is told
  }
  one_records = false;
}

Profile Profiler::stop() {
  TAPER_CHECK(recording_, "Profiler::stop: it has been stopped already");
  gpu::detail::DeviceRecording from_device = gpu::detail::stop_device_profiling();
  const uint64_t own_session = end_recording();
  Collector collector(detail::profile_clock_ns());
  {
    const std::lock_guard lock(registry().mutex);
    for (const auto& recorder : registry().recorders) collector.add(*recorder, own_session);
  }
  collector.add(std::move(from_device.spans));
  Profile profile = collector.finish(start_ns_);
  profile.note = note_.empty() ? std::move(from_device.note) : std::move(note_);
  profile.algorithms = algorithm_cache().statistics().since(algorithms_before_);
  one_records = false;
  return profile;
}

}  // namespace taper
