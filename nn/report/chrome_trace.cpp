#include "taper/nn/report/chrome_trace.h"

#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <utility>

#include "taper/core/files/atomic_file.h"
#include "taper/version.h"

namespace taper {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kHost = 1;         // the host's process number in the trace
constexpr int kFirstDevice = 2;  // cuda:0's

const char* category(SpanKind kind) {
  switch (kind) {
    case SpanKind::kOp:
      return "op";
    case SpanKind::kBackward:
      return "backward";
    case SpanKind::kOptimizer:
      return "optimizer";
    case SpanKind::kData:
      return "data";
    case SpanKind::kStep:
      return "step";
    case SpanKind::kAlgorithm:
      return "algorithm";
    case SpanKind::kParallel:
      return "parallel";
    case SpanKind::kCall:
      return "gpu_call";
    case SpanKind::kKernel:
      return "kernel";
    case SpanKind::kCopy:
      return "copy";
    case SpanKind::kFill:
      return "fill";
  }
  return "";
}

/// The format's unit is the microsecond; the fraction keeps the nanoseconds.
double microseconds(int64_t ns) {
  return double(ns) / 1000;
}

Json to_json(const AlgorithmStatistics& algorithms) {
  return {{"hits", algorithms.hits},
          {"misses", algorithms.misses},
          {"recalled", algorithms.recalled},
          {"benchmarked", algorithms.benchmarked},
          {"struck_off", algorithms.rejected},
          {"fallbacks", algorithms.fallbacks},
          {"benchmark_seconds", algorithms.benchmark_seconds}};
}

/// Returns the span's track: the format's process and thread numbers.
std::pair<int, int> track(const ProfileSpan& span) {
  if (span.thread >= 0) return {kHost, span.thread};
  return {kFirstDevice + span.device, span.stream};
}

class TraceWriter {
 public:
  explicit TraceWriter(const std::string& path) : file_(path) {}

  void write(const Profile& profile, const ChromeTraceOptions& options) {
    file_.write("{\"traceEvents\": [");
    name_tracks(profile, options.process);
    write_spans(profile.spans);
    for (const MemorySample& sample : profile.memory) write_sample(sample);
    Json about;
    about["taper"] = kVersion;
    about["dropped_events"] = profile.dropped;
    if (options.algorithms) about["algorithms"] = to_json(*options.algorithms);
    if (!profile.note.empty()) about["note"] = profile.note;
    file_.write("\n], \"displayTimeUnit\": \"ms\", \"otherData\": " + dump(about) + "}\n");
    file_.commit();
  }

 private:
  // Names may hold any bytes; invalid UTF-8 is replaced.
  static std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  void put(const Json& event) {
    file_.write((first_ ? "\n" : ",\n") + dump(event));
    first_ = false;
  }

  Json event(const char* phase, const std::string& name, std::pair<int, int> track, int64_t time_ns) const {
    Json event;
    event["ph"] = phase;
    event["name"] = name;
    event["pid"] = track.first;
    event["tid"] = track.second;
    event["ts"] = microseconds(time_ns);
    return event;
  }

  void put_name(const char* what, std::pair<int, int> track, const std::string& name, int order) {
    put({{"ph", "M"},
         {"name", what + std::string("_name")},
         {"pid", track.first},
         {"tid", track.second},
         {"args", {{"name", name}}}});
    put({{"ph", "M"},
         {"name", what + std::string("_sort_index")},
         {"pid", track.first},
         {"tid", track.second},
         {"args", {{"sort_index", order}}}});
  }

  void name_tracks(const Profile& profile, const std::string& process) {
    put_name("process", {kHost, 0}, process, 0);
    for (size_t thread = 0; thread < profile.threads.size(); ++thread) {
      const bool is_main = profile.threads[thread] == "main";
      put_name("thread", {kHost, int(thread)}, profile.threads[thread], is_main ? -1 : int(thread));
    }
    for (size_t device = 0; device < profile.devices.size(); ++device) {
      if (profile.devices[device].empty()) continue;
      const int number = kFirstDevice + int(device);
      put_name("process", {number, 0}, fmt::format("cuda:{} {}", device, profile.devices[device]), number);
    }
    std::set<std::pair<int, int>> streams;
    for (const ProfileSpan& span : profile.spans) {
      if (span.thread < 0 && streams.insert(track(span)).second)
        put_name("thread", track(span), fmt::format("stream {}", span.stream), span.stream);
    }
  }

  void write_spans(const std::vector<ProfileSpan>& spans) {
    // Calls come first in a Profile, so an arrow's beginning is known before its end.
    std::unordered_map<uint64_t, const ProfileSpan*> calls;
    for (const ProfileSpan& span : spans) {
      Json bar = event("X", span.name, track(span), span.begin_ns);
      bar["dur"] = microseconds(span.end_ns - span.begin_ns);
      bar["cat"] = category(span.kind);
      if (Json args = arguments(span); !args.empty()) bar["args"] = std::move(args);
      put(bar);
      if (span.correlation == 0) continue;
      if (span.thread >= 0) {
        calls.emplace(span.correlation, &span);
      } else if (const auto call = calls.find(span.correlation); call != calls.end()) {
        write_arrow(*call->second, span);
      }
    }
  }

  static Json arguments(const ProfileSpan& span) {
    Json args = Json::object();
    if (!span.inputs.empty()) args["inputs"] = span.inputs;
    if (!span.op.empty()) args["op"] = span.op;
    if (span.bytes > 0) args["bytes"] = span.bytes;
    if (span.kind == SpanKind::kKernel) {
      args["grid"] = span.grid;
      args["block"] = span.block;
      args["dynamic_shared_bytes"] = span.shared_bytes;
    }
    if (span.correlation != 0) args["correlation"] = span.correlation;
    return args;
  }

  /// A graph's one call starts many kernels, so each arrow has a number of its own.
  void write_arrow(const ProfileSpan& call, const ProfileSpan& work) {
    ++arrows_;
    for (const bool end : {false, true}) {
      const ProfileSpan& at = end ? work : call;
      Json arrow = event(end ? "f" : "s", "launch", track(at), at.begin_ns);
      arrow["cat"] = "launch";
      arrow["id"] = arrows_;
      if (end) arrow["bp"] = "e";  // bound to the bar around it, not to the next one
      put(arrow);
    }
  }

  void write_sample(const MemorySample& sample) {
    const std::string device = sample.device.str();
    Json instant = event("i", fmt::format("{} on {}", sample.delta_bytes > 0 ? "allocate" : "free", device),
                         {kHost, sample.thread}, sample.time_ns);
    instant["s"] = "t";
    instant["cat"] = "memory";
    instant["args"] = {{"bytes", sample.delta_bytes},
                       {"allocated", sample.allocated_bytes},
                       {"reserved", sample.reserved_bytes},
                       {"op", sample.op}};
    put(instant);
    const int process = sample.device.is_cpu() ? kHost : kFirstDevice + sample.device.index;
    Json counter = event("C", "memory of " + device, {process, 0}, sample.time_ns);
    counter["args"] = {{"allocated", sample.allocated_bytes},
                       {"cached", sample.reserved_bytes - sample.allocated_bytes}};
    put(counter);
  }

  AtomicFile file_;
  bool first_ = true;
  int64_t arrows_ = 0;
};

}  // namespace

void write_chrome_trace(const std::string& path, const Profile& profile, const ChromeTraceOptions& options) {
  TraceWriter(path).write(profile, options);
}

}  // namespace taper
