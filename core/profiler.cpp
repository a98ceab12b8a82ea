#include "taper/core/profiler.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/base/profile_recorder.h"
#include "taper/core/gpu/device_profiler.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"

namespace taper {
namespace {

std::atomic<bool> one_records{false};

/// Returns whether spans of this kind can own GPU work: work belongs to the innermost op around the call.
bool names_an_op(SpanKind kind) {
  return kind == SpanKind::kOp || kind == SpanKind::kBackward || kind == SpanKind::kOptimizer ||
         kind == SpanKind::kData;
}

/// The call and the op that set off a piece of work on a GPU.
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

/// Sets the depths of the bars on host threads, and the ops of calls and of the work they set off.
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

/// Orders host threads before streams; on each by time, outer bars before inner ones.
bool comes_before(const ProfileSpan& a, const ProfileSpan& b) {
  const auto key = [](const ProfileSpan& span) {
    return std::tuple(span.thread < 0, span.thread, span.device, span.stream, span.begin_ns, -span.end_ns,
                      span.depth);
  };
  return key(a) < key(b);
}

/// Gathers what threads and devices have recorded.
class Collector {
 public:
  explicit Collector(int64_t end_ns) : end_ns_(end_ns) {}

  void add(detail::ThreadRecording recording) {
    const int thread = thread_of(recording.system_id, recording.name);
    for (ProfileSpan& span : recording.spans) {
      if (span.device < 0) span.thread = thread;
      profile_.spans.push_back(std::move(span));
    }
    for (MemorySample& sample : recording.memory) {
      sample.thread = thread;
      profile_.memory.push_back(std::move(sample));
    }
  }

  void add(std::vector<ProfileSpan> from_device) {
    for (ProfileSpan& span : from_device) {
      if (!detail::take_event_room()) continue;
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
    profile_.dropped = detail::dropped_events();
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
  std::map<int, int> index_;  // by the system's thread number
};

}  // namespace

void detail::note_bytes(std::span<const Tensor> tensors) {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors)
    if (tensor.defined()) bytes += int64_t(tensor.size_bytes());
  note_bytes(bytes);
}

Profiler::Profiler(ProfilerOptions options) {
  TAPER_CHECK(options.max_events > 0, "Profiler: max_events is {}; at least 1 is needed", options.max_events);
  TAPER_CHECK(!one_records.exchange(true), "Profiler: another one is recording; stop() it first");
  recording_ = true;
  detail::prepare_recording(options.max_events, options.memory);
  note_ = gpu::detail::start_device_profiling();
  start_ns_ = detail::profile_clock_ns();
  detail::begin_recording();
}

uint64_t Profiler::end_recording() {
  recording_ = false;
  return detail::end_recording();
}

Profiler::~Profiler() {
  if (!recording_) return;
  end_recording();
  try {
    gpu::detail::stop_device_profiling();
  } catch (const Error&) {  // work on the device failed; the next wait for it throws
  }
  one_records = false;
}

Profile Profiler::stop() {
  TAPER_CHECK(recording_, "Profiler::stop: it has been stopped already");
  gpu::detail::DeviceRecording from_device = gpu::detail::stop_device_profiling();
  const uint64_t number = end_recording();
  const int64_t end_ns = detail::profile_clock_ns();
  Collector collector(end_ns);
  for (detail::ThreadRecording& recording : detail::take_recordings(number, end_ns))
    collector.add(std::move(recording));
  collector.add(std::move(from_device.spans));
  Profile profile = collector.finish(start_ns_);
  profile.note = note_.empty() ? std::move(from_device.note) : std::move(note_);
  one_records = false;
  return profile;
}

}  // namespace taper
