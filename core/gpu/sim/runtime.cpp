// The runtime interface (core/gpu/runtime.h) on the simulated machine.

#include "taper/core/gpu/runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "taper/core/base/error.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/launch_text.h"
#include "taper/core/gpu/sim.h"
#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/schedule.h"
#include "taper/core/gpu/stream_access.h"

namespace taper::gpu {

using sim::Machine;
using taper::detail::CallSpan;

struct Event::State {
  EventTiming timing;
  std::shared_ptr<sim::Mark> mark;  // null before the first record
};

namespace {

thread_local int this_device = 0;

std::string_view copy_name(CopyKind kind) {
  if (kind == CopyKind::kDeviceToDevice) return "copy on device";
  return kind == CopyKind::kHostToDevice ? "copy host to device" : "copy device to host";
}

void refuse_while_capturing(Machine& machine, const char* call, Stream stream) {
  if (machine.queue(stream).capture == nullptr) return;
  detail::refuse_capture(
      fmt::format("{}: stream {} of cuda:{} is capturing a graph", call, stream.id(), stream.device()));
}

}  // namespace

bool is_simulated() {
  return true;
}

// ---------------------------------------------------------------------------------------------- devices

int device_count() {
  return Machine::instance().device_count();
}

int current_device() {
  return this_device;
}

void set_device(int device) {
  detail::check_device("set_device", device);
  this_device = device;
}

const DeviceProperties& properties(int device) {
  detail::check_device("properties", device);
  // Fixed numbers, so that what a launcher decides from them is equal on every machine.
  static const auto& simulated = *new DeviceProperties{.name = "Taper simulated GPU",
                                                       .multiprocessors = 8,
                                                       .compute_major = 9,
                                                       .compute_minor = 0,
                                                       .total_memory_bytes = memory_info(0).total_bytes,
                                                       .shared_memory_per_block_bytes = 227 * 1024,
                                                       .shared_memory_per_multiprocessor_bytes = 228 * 1024,
                                                       .l2_cache_bytes = 4 << 20,
                                                       .threads_per_multiprocessor = 2048};
  return simulated;
}

MemoryInfo memory_info(int device) {
  detail::check_device("memory_info", device);
  detail::refuse_if_lost(device);
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const size_t total = machine.memory_limit();
  return {total - std::min(total, machine.arena(device).used_bytes()), total};
}

void synchronize(int device) {
  detail::check_device("synchronize", device);
  detail::refuse_if_lost(device);
  const CallSpan call("synchronize");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (machine.capturing(device))
    detail::refuse_capture(fmt::format("synchronize: a stream of cuda:{} is capturing a graph", device));
  machine.run_all(device);
}

// ---------------------------------------------------------------------------------------------- memory

void* allocate(size_t size_bytes, int device) {
  detail::check_device("allocate", device);
  detail::refuse_if_lost(device);
  if (size_bytes == 0) return nullptr;
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (machine.fails_now(static_cast<int>(sim::FaultPoint::kAllocate))) {
    fail<OutOfMemoryError>("cuda:{}: allocate of {} bytes failed: injected failure", device, size_bytes);
  }
  sim::install_fault_handler();
  return machine.arena(device).allocate(size_bytes, machine.memory_limit());
}

void deallocate(void* device_ptr, int device) {
  if (device_ptr == nullptr || detail::is_forked()) return;
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  TAPER_CHECK(!machine.capturing(device), "deallocate: a stream of cuda:{} is capturing a graph", device);
  machine.run_all(device);
  machine.arena(device).deallocate(device_ptr);
}

void* allocate_pinned(size_t size_bytes) {
  if (size_bytes == 0) return nullptr;
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const bool fails = machine.fails_now(static_cast<int>(sim::FaultPoint::kAllocatePinned));
  void* host_ptr = fails ? nullptr : std::aligned_alloc(4096, (size_bytes + 4095) / 4096 * 4096);
  if (host_ptr == nullptr) fail<OutOfMemoryError>("allocate_pinned: the host has no {} bytes", size_bytes);
  machine.pinned.add(host_ptr, size_bytes);
  return host_ptr;
}

void deallocate_pinned(void* host_ptr) {
  if (host_ptr == nullptr || detail::is_forked()) return;
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  TAPER_CHECK(machine.pinned.begins_at(host_ptr), "deallocate_pinned: {} did not come from allocate_pinned",
              host_ptr);
  for (int device = 0; device < machine.device_count(); ++device)
    machine.run_all(device);  // as cudaFreeHost waits
  machine.pinned.remove(host_ptr);
  std::free(host_ptr);
}

bool is_pinned(const void* host_ptr) {
  return Machine::instance().pinned.contains(host_ptr);
}

void annotate_allocated(void* device_ptr, size_t size_bytes, Stream stream) {
  if (detail::is_forked()) return;
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (!machine.annotations()) return;
  machine.enqueue_quietly(stream, {[=] { sim::allow_access(device_ptr, size_bytes); }});
}

// Poison is written when the piece is freed: a kernel that comes too late reads NaN, and so does the next
// owner.
void annotate_freed(void* device_ptr, size_t size_bytes, Stream stream) {
  if (detail::is_forked()) return;
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (!machine.annotations()) return;
  auto poison = [=] {
    Machine::instance().unlock_only(stream.device());
    sim::allow_access(device_ptr, size_bytes);  // a no-op unless annotations were off when it was handed out
    std::memset(device_ptr, sim::kPoison, size_bytes);
    sim::forbid_access(device_ptr, size_bytes);
  };
  machine.enqueue_quietly(stream, {poison});
}

// ---------------------------------------------------------------------------------------------- streams

CUstream_st* detail::create_stream_handle(int, StreamPriority) {
  return nullptr;
}

void Stream::wait(const Event& event) const {
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (const auto& mark = event.state().mark) machine.wait(*this, mark);
}

void Stream::synchronize() const {
  detail::refuse_if_lost(device_);
  const CallSpan call("Stream::synchronize");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  refuse_while_capturing(machine, "Stream::synchronize", *this);
  machine.run_until(*machine.record(*this));
}

bool Stream::query() const {
  detail::refuse_if_lost(device_);
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  refuse_while_capturing(machine, "Stream::query", *this);
  if (!machine.queue(*this).tasks.empty()) machine.run_one();
  return machine.queue(*this).tasks.empty();
}

// ---------------------------------------------------------------------------------------------- events

Event::Event(EventTiming timing) : state_(new State{timing, nullptr}) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::record(Stream stream) {
  detail::refuse_if_lost(stream.device());
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  state_->mark = machine.record(stream);
}

bool Event::query() const {
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const auto& mark = state_->mark;
  if (mark == nullptr) return true;
  if (mark->capture != nullptr)
    detail::refuse_capture("Event::query: the event was recorded while capturing a graph");
  if (!mark->reached) machine.run_one();
  return mark->reached;
}

void Event::synchronize() const {
  detail::refuse_if_forked();
  const CallSpan call("Event::synchronize");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const auto mark = state_->mark;
  if (mark == nullptr) return;
  if (mark->capture != nullptr)
    detail::refuse_capture("Event::synchronize: the event was recorded while capturing a graph");
  machine.run_until(*mark);
}

float Event::elapsed_ms(const Event& start) const {
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  for (const State* state : {&start.state(), state_.get()}) {
    TAPER_CHECK(state->timing == EventTiming::kOn,
                "Event::elapsed_ms: an event was made without EventTiming::kOn");
    TAPER_CHECK(state->mark != nullptr && state->mark->reached,
                "Event::elapsed_ms: an event has not been reached yet");
  }
  return std::chrono::duration<float, std::milli>(state_->mark->time - start.state().mark->time).count();
}

// ---------------------------------------------------------------------------------------------- copies

void copy_async(void* dst, const void* src, size_t size_bytes, CopyKind kind, Stream stream) {
  if (size_bytes == 0) return;
  detail::refuse_if_lost(stream.device());
  const CallSpan call("copy_async");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  auto check_device_side = [&](const char* side, const void* device_ptr) {
    const int device = machine.device_of(device_ptr);
    TAPER_CHECK(device >= 0, "copy_async: the {} {} is host memory, the copy kind says device", side,
                device_ptr);
    TAPER_CHECK(machine.arena(device).holds(device_ptr, size_bytes),
                "copy_async: {} bytes at the {} do not fit: it is {}", size_bytes, side,
                machine.arena(device).describe(device_ptr));
  };
  auto check_host_side = [&](const char* side, const void* host_ptr) {
    TAPER_CHECK(machine.device_of(host_ptr) < 0,
                "copy_async: the {} {} is device memory, the copy kind says host", side, host_ptr);
  };
  if (kind == CopyKind::kHostToDevice)
    check_host_side("source", src);
  else
    check_device_side("source", src);
  if (kind == CopyKind::kDeviceToHost)
    check_host_side("destination", dst);
  else
    check_device_side("destination", dst);
  if (machine.fails_now(static_cast<int>(sim::FaultPoint::kCopy))) {
    fail("copy_async of {} bytes on cuda:{} failed: injected failure", size_bytes, stream.device());
  }

  auto copy = [dst, size_bytes](const void* from) {
    Machine& now = Machine::instance();
    for (const void* end : {static_cast<const void*>(dst), from}) {
      if (const int device = now.device_of(end); device >= 0) now.arena(device).unlock();
    }
    std::memmove(dst, from, size_bytes);
  };
  const taper::detail::DeviceWork what{.kind = SpanKind::kCopy,
                                       .name = copy_name(kind),
                                       .bytes = int64_t(size_bytes),
                                       .correlation = call.correlation()};
  const bool capturing = machine.queue(stream).capture != nullptr;
  if (kind == CopyKind::kHostToDevice && !machine.pinned.contains(src) && !capturing) {
    // Like the driver, stages a pageable source, so that the caller may overwrite it at once.
    auto staged = std::make_shared<std::vector<std::byte>>(static_cast<const std::byte*>(src),
                                                           static_cast<const std::byte*>(src) + size_bytes);
    machine.enqueue(stream, {[copy, staged] { copy(staged->data()); }, what});
    return;
  }
  machine.enqueue(stream, {[copy, src] { copy(src); }, what});
  if (kind == CopyKind::kDeviceToHost && !machine.pinned.contains(dst) && !capturing) {
    machine.run_until(*machine.record(stream));
  }
}

void fill_async(void* device_ptr, uint8_t byte, size_t size_bytes, Stream stream) {
  if (size_bytes == 0) return;
  detail::refuse_if_lost(stream.device());
  const CallSpan call("fill_async");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const int device = machine.device_of(device_ptr);
  TAPER_CHECK(device >= 0 && machine.arena(device).holds(device_ptr, size_bytes),
              "fill_async: {} bytes at {} are not all in one block of device memory", size_bytes, device_ptr);
  auto fill = [=] {
    Machine::instance().arena(device).unlock();
    std::memset(device_ptr, byte, size_bytes);
  };
  machine.enqueue(stream, {fill,
                           {.kind = SpanKind::kFill,
                            .name = "fill",
                            .bytes = int64_t(size_bytes),
                            .correlation = call.correlation()}});
}

// ---------------------------------------------------------------------------------------------- launch

void detail::launch(const char* name, const LaunchConfig& config, ThreadCall call,
                    std::shared_ptr<const void> arguments) {
  check_launch(name, config);
  refuse_if_lost(config.stream.device());
  const CallSpan span("launch");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  if (machine.fails_now(static_cast<int>(sim::FaultPoint::kLaunch))) {
    fail("{} failed: injected failure", launch_text(name, config));
  }
  sim::Kernel kernel{.name = name,
                     .device = config.stream.device(),
                     .grid = config.grid,
                     .block = config.block,
                     .dynamic_shared_bytes = config.dynamic_shared_bytes,
                     .call = call};
  auto run = [kernel, arguments]() mutable {
    Machine& now = Machine::instance();
    now.unlock_only(kernel.device);
    kernel.last_thread_first = now.draw() % 2 == 1;
    kernel.arguments = arguments.get();
    const std::string fault = sim::run_grid(kernel);
    if (!fault.empty()) fail("{}", fault);
  };
  const dim3 &grid = config.grid, &block = config.block;
  machine.enqueue(config.stream, {std::move(run),
                                  {.kind = SpanKind::kKernel,
                                   .name = name,
                                   .grid = {grid.x, grid.y, grid.z},
                                   .block = {block.x, block.y, block.z},
                                   .shared_bytes = int64_t(config.dynamic_shared_bytes),
                                   .correlation = span.correlation()}});
}

// ---------------------------------------------------------------------------------------------- graphs

struct Graph::State {
  std::shared_ptr<const std::vector<sim::Capture::Node>> nodes;
};

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::Graph(std::unique_ptr<State> state) : state_(std::move(state)) {}

size_t Graph::node_count() const {
  if (state_ == nullptr) return 0;
  // The allocators' annotations are nodes as well, and have no name.
  return size_t(std::ranges::count_if(
      *state_->nodes, [](const sim::Capture::Node& node) { return !node.work.what.name.empty(); }));
}

void Graph::replay(Stream stream) const {
  TAPER_CHECK(state_ != nullptr, "Graph::replay: the graph is empty; capture it first");
  detail::refuse_if_lost(stream.device());
  const CallSpan call("Graph::replay");
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  refuse_while_capturing(machine, "Graph::replay", stream);
  auto run = [nodes = state_->nodes, stream, correlation = call.correlation()] {
    // Runs the nodes in any order that keeps the captured dependencies, drawn from the seed.
    std::vector<bool> done(nodes->size());
    std::vector<size_t> remaining(nodes->size());
    std::iota(remaining.begin(), remaining.end(), size_t{0});
    while (!remaining.empty()) {
      std::vector<size_t> runnable;
      for (size_t i = 0; i < remaining.size(); ++i) {
        const auto& after = (*nodes)[remaining[i]].after;
        if (std::all_of(after.begin(), after.end(), [&](int n) { return done[static_cast<size_t>(n)]; }))
          runnable.push_back(i);
      }
      const size_t pick = runnable[Machine::instance().draw() % runnable.size()];
      const size_t node = remaining[pick];
      sim::Work work = (*nodes)[node].work;
      work.what.correlation = correlation;
      Machine::instance().run_work(work, stream.device(), stream.id());
      done[node] = true;
      remaining.erase(remaining.begin() + static_cast<std::ptrdiff_t>(pick));
    }
  };
  machine.enqueue(stream, {std::move(run)});
}

void begin_capture(Stream stream) {
  detail::refuse_if_lost(stream.device());
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  TAPER_CHECK(stream.id() != 0, "begin_capture: the default stream cannot capture; use stream_from_pool()");
  refuse_while_capturing(machine, "begin_capture", stream);
  machine.queue(stream).capture = std::make_shared<sim::Capture>(sim::Capture{{}, stream});
  machine.queue(stream).capture_tail.clear();
}

Graph end_capture(Stream stream) {
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const std::shared_ptr<sim::Capture> capture = machine.queue(stream).capture;
  TAPER_CHECK(capture != nullptr && capture->origin == stream,
              "end_capture: no capture began on stream {} of cuda:{}", stream.id(), stream.device());
  // Everything captured must come before the end of the origin stream.
  std::vector<bool> joined(capture->nodes.size());
  std::vector<int> pending = machine.queue(stream).capture_tail;
  while (!pending.empty()) {
    const auto node = static_cast<size_t>(pending.back());
    pending.pop_back();
    if (joined[node]) continue;
    joined[node] = true;
    pending.insert(pending.end(), capture->nodes[node].after.begin(), capture->nodes[node].after.end());
  }
  machine.leave_capture(capture);
  if (std::find(joined.begin(), joined.end(), false) != joined.end())
    detail::refuse_capture(fmt::format(
        "end_capture: a stream that joined the capture was not waited for by stream {} again", stream.id()));
  return Graph(std::make_unique<Graph::State>(
      Graph::State{std::make_shared<const std::vector<sim::Capture::Node>>(std::move(capture->nodes))}));
}

void abandon_capture(Stream stream) noexcept {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  const std::shared_ptr<sim::Capture> capture = machine.queue(stream).capture;
  if (capture != nullptr) machine.leave_capture(capture);
}

bool is_capturing(Stream stream) {
  detail::refuse_if_forked();
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  return machine.queue(stream).capture != nullptr;
}

}  // namespace taper::gpu
