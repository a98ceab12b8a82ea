#include "taper/core/gpu/memory/memory_snapshot.h"

#include <fmt/format.h>

#include <iterator>

namespace taper::gpu {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (uint8_t(c) < 0x20)
      out += fmt::format("\\u{:04x}", unsigned(c));
    else
      out += c;
  }
  return out + '"';
}

/// Joins what `write(out, item)` writes for each item with commas.
template <class Items, class Write>
void write_list(std::string& out, const Items& items, Write write) {
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += ',';
    first = false;
    write(item);
  }
}

void write_segment(std::string& out, const SegmentSnapshot& segment, int device) {
  auto to = std::back_inserter(out);
  size_t allocated = 0, active = 0;
  for (const BlockSnapshot& block : segment.blocks) {
    if (block.state == "active_allocated") allocated += block.size_bytes;
    if (block.state != "inactive") active += block.size_bytes;
  }
  fmt::format_to(to,
                 R"({{"device":{},"address":{},"total_size":{},"allocated_size":{},"active_size":{},)"
                 R"("stream":{},"segment_type":"{}","segment_pool_id":{},"blocks":[)",
                 device, segment.address, segment.size_bytes, allocated, active, segment.stream,
                 segment.small ? "small" : "large", segment.pool_id);
  write_list(out, segment.blocks, [&](const BlockSnapshot& block) {
    fmt::format_to(to, R"({{"address":{},"size":{},"requested_size":{},"state":"{}","op":{}}})",
                   block.address, block.size_bytes, block.requested_bytes, block.state, quoted(block.op));
  });
  out += "]}";
}

void write_event(std::string& out, const TraceEvent& event) {
  fmt::format_to(std::back_inserter(out),
                 R"({{"action":"{}","addr":{},"size":{},"stream":{},"op":{},"time_us":{:.3f},)"
                 R"("allocated":{},"reserved":{}}})",
                 name_of(event.action), event.address, event.size_bytes, event.stream, quoted(event.op),
                 double(event.time_ns) * 1e-3, event.allocated_bytes, event.reserved_bytes);
}

}  // namespace

std::string_view name_of(TraceAction action) {
  switch (action) {
    case TraceAction::kAlloc:
      return "alloc";
    case TraceAction::kFreeRequested:
      return "free_requested";
    case TraceAction::kFreeCompleted:
      return "free_completed";
    case TraceAction::kSegmentAlloc:
      return "segment_alloc";
    case TraceAction::kSegmentFree:
      return "segment_free";
    case TraceAction::kOom:
      return "oom";
  }
  return "";
}

std::string to_json(std::span<const MemorySnapshot> snapshots) {
  std::string out = R"({"devices":[)";
  write_list(out, snapshots, [&](const MemorySnapshot& snapshot) {
    fmt::format_to(std::back_inserter(out), R"({{"device":{},"total_memory":{},"stats":{{)", snapshot.device,
                   snapshot.total_bytes);
    write_list(out, named_values(snapshot.stats), [&](const auto& named) {
      fmt::format_to(std::back_inserter(out), R"("{}":{})", named.first, named.second);
    });
    out += R"(},"segments":[)";
    write_list(out, snapshot.segments,
               [&](const SegmentSnapshot& segment) { write_segment(out, segment, snapshot.device); });
    out += R"(],"trace":[)";
    write_list(out, snapshot.trace, [&](const TraceEvent& event) { write_event(out, event); });
    out += "]}";
  });
  return out + "]}";
}

void TraceBuffer::set_capacity(size_t max_events) {
  capacity_ = max_events;
  oldest_ = 0;
  ring_.clear();
  ring_.shrink_to_fit();
}

void TraceBuffer::add(const TraceEvent& event) {
  if (ring_.size() < capacity_) {
    ring_.push_back(event);
    return;
  }
  ring_[oldest_] = event;
  oldest_ = (oldest_ + 1) % capacity_;
}

std::vector<TraceEvent> TraceBuffer::events() const {
  const auto oldest = ring_.begin() + std::ptrdiff_t(oldest_);
  std::vector<TraceEvent> events(oldest, ring_.end());
  events.insert(events.end(), ring_.begin(), oldest);
  return events;
}

}  // namespace taper::gpu
