// Replays a recorded sequence of allocations (nn/report/memory_trace.h), then replays it up to its peak, and
// writes the page that shows what the caching allocator made of it:
//
//   memory_report tests/data/resnet50_step.jsonl report.html

#include <fmt/format.h>
#include <taper/taper.h>

#include <algorithm>

using namespace taper;

int main(int argc, char** argv) {
  start_program("memory_report");
  if (argc != 3) {
    fmt::print(stderr, "usage: {} TRACE.jsonl REPORT.html\n", argv[0]);
    return 2;
  }
  try {
    const auto events = read_memory_trace(argv[1]);
    gpu::CachingAllocator allocator(0);
    allocator.record_history(4 * events.size() + 1000);
    size_t peak_event = 0;
    int64_t peak_bytes = 0;
    replay_memory_trace(events, allocator, [&](size_t index) {
      const int64_t bytes = allocator.stats().allocated_bytes;
      if (bytes > peak_bytes) peak_event = index;
      peak_bytes = std::max(peak_bytes, bytes);
    });
    const gpu::CachingAllocatorStats stats = allocator.memory_stats();
    gpu::MemorySnapshot at_peak;
    replay_memory_trace(events, allocator, [&](size_t index) {
      if (index == peak_event) at_peak = allocator.snapshot();
    });
    write_memory_report(argv[2], {&at_peak, 1});
    fmt::print("{} allocations, {} reached the runtime; at most {:.1f} MiB allocated, {:.1f} MiB reserved\n",
               stats.all.allocation.allocated, stats.num_device_alloc,
               double(stats.all.allocated_bytes.peak) / (1 << 20),
               double(stats.all.reserved_bytes.peak) / (1 << 20));
  } catch (const Error& error) {
    print_error(error.what());
    return 1;
  }
}
