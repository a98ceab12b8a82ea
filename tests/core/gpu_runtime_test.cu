// The runtime interface: devices, memory, streams, events, copies and graphs. Passes on the simulated GPU and
// on a real one.

#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <thread>

#include "taper/core/base/error.h"
#include "taper/core/gpu/launch.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;

namespace {

__global__ void add_to(int* data, int count, int value) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) data[i] += value;
}

__global__ void times(int* data, int count, int value) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) data[i] *= value;
}

void add(int* data, int count, int value, gpu::Stream stream) {
  gpu::launch("add_to", add_to,
              {.grid = static_cast<unsigned>(count + 127) / 128, .block = 128, .stream = stream}, data, count,
              value);
}

void multiply(int* data, int count, int value, gpu::Stream stream) {
  gpu::launch("times", times,
              {.grid = static_cast<unsigned>(count + 127) / 128, .block = 128, .stream = stream}, data, count,
              value);
}

/// Pinned host memory for a scope.
class PinnedInts {
 public:
  explicit PinnedInts(size_t count) : data_(static_cast<int*>(gpu::allocate_pinned(count * sizeof(int)))) {}
  ~PinnedInts() { gpu::deallocate_pinned(data_); }
  PinnedInts(const PinnedInts&) = delete;
  PinnedInts& operator=(const PinnedInts&) = delete;
  int* data() const { return data_; }

 private:
  int* data_;
};

}  // namespace

TEST_CASE("a device says what it is") {
  REQUIRE(gpu::device_count() >= 1);
  REQUIRE(gpu::current_device() == 0);
  const gpu::DeviceProperties& device = gpu::properties(0);
  REQUIRE(!device.name.empty());
  REQUIRE(device.multiprocessors >= 1);
  REQUIRE(device.compute_major >= 8);
  REQUIRE(device.shared_memory_per_block_bytes >= 48 * 1024);
  REQUIRE(device.shared_memory_per_multiprocessor_bytes >= device.shared_memory_per_block_bytes);
  REQUIRE(device.threads_per_multiprocessor >= 1024);
  REQUIRE(device.l2_cache_bytes > 0);
  const int none = gpu::device_count();
  REQUIRE_THROWS_WITH(gpu::properties(none), Contains("cuda:" + std::to_string(none)));
  REQUIRE_THROWS_WITH(gpu::set_device(-1), Contains("cuda:-1"));
}

TEST_CASE("allocated memory counts as used") {
  const gpu::MemoryInfo before = gpu::memory_info(0);
  REQUIRE(before.total_bytes > 0);
  REQUIRE(before.free_bytes <= before.total_bytes);
  const size_t size_bytes = 64 << 20;
  void* block = gpu::allocate(size_bytes);
  REQUIRE(reinterpret_cast<uintptr_t>(block) % 256 == 0);
  REQUIRE(gpu::memory_info(0).free_bytes <= before.free_bytes - size_bytes);
  gpu::deallocate(block);
  REQUIRE(gpu::allocate(0) == nullptr);
  gpu::deallocate(nullptr);
  REQUIRE_THROWS_AS(gpu::allocate(before.total_bytes + 1), OutOfMemoryError);
  int on_host = 0;
  REQUIRE_THROWS_AS(gpu::deallocate(&on_host), Error);
}

TEST_CASE("pinned memory is known as such") {
  PinnedInts pinned(1000);
  const std::vector<int> pageable(1000);
  REQUIRE(gpu::is_pinned(pinned.data()));
  REQUIRE(gpu::is_pinned(pinned.data() + 999));
  REQUIRE_FALSE(gpu::is_pinned(pinned.data() + 1000));
  REQUIRE_FALSE(gpu::is_pinned(pageable.data()));
  REQUIRE_FALSE(gpu::is_pinned(nullptr));
  const void* gone = PinnedInts(10).data();
  REQUIRE_FALSE(gpu::is_pinned(gone));
  int on_host = 0;
  REQUIRE_THROWS_WITH(gpu::deallocate_pinned(&on_host), Contains("did not come from allocate_pinned"));
}

TEST_CASE("threads allocate, ask for and free pinned memory at once") {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const PinnedInts first(100), second(1);
        if (!gpu::is_pinned(first.data() + 99) || !gpu::is_pinned(second.data())) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(wrong == 0);
}

TEST_CASE("copies between host and device, and within the device") {
  const size_t count = 1031, bytes = count * sizeof(int);
  std::vector<int> values(count);
  std::iota(values.begin(), values.end(), 5);
  const gpu::Stream stream = gpu::stream_from_pool();
  DeviceArray<int> first(count), second(count);
  SECTION("pageable: the source may be overwritten at once") {
    const std::vector<int> original = values;
    gpu::copy_async(first.data(), values.data(), bytes, gpu::CopyKind::kHostToDevice, stream);
    std::fill(values.begin(), values.end(), -1);
    gpu::copy_async(second.data(), first.data(), bytes, gpu::CopyKind::kDeviceToDevice, stream);
    gpu::copy_async(values.data(), second.data(), bytes, gpu::CopyKind::kDeviceToHost, stream);
    REQUIRE(values == original);  // no synchronize: the host buffer is complete on return
  }
  SECTION("pinned") {
    PinnedInts in(count), out(count);
    std::copy(values.begin(), values.end(), in.data());
    gpu::copy_async(first.data(), in.data(), bytes, gpu::CopyKind::kHostToDevice, stream);
    gpu::copy_async(second.data(), first.data(), bytes, gpu::CopyKind::kDeviceToDevice, stream);
    gpu::copy_async(out.data(), second.data(), bytes, gpu::CopyKind::kDeviceToHost, stream);
    stream.synchronize();
    REQUIRE(std::equal(values.begin(), values.end(), out.data()));
  }
  SECTION("nothing at all") {
    gpu::copy_async(nullptr, nullptr, 0, gpu::CopyKind::kHostToDevice, stream);
    gpu::fill_async(nullptr, 0, 0, stream);
    stream.synchronize();
  }
}

TEST_CASE("fill sets every byte") {
  DeviceArray<unsigned char> data(std::vector<unsigned char>(100, 1));
  gpu::fill_async(data.data() + 10, 0xab, 80, gpu::current_stream());
  const auto values = data.host();
  for (size_t i = 0; i < 100; ++i) REQUIRE(values[i] == (i >= 10 && i < 90 ? 0xab : 1));
}

TEST_CASE("streams are values with an identity") {
  const gpu::Stream standard = gpu::default_stream(), a = gpu::stream_from_pool(),
                    b = gpu::stream_from_pool();
  REQUIRE(standard.id() == 0);
  REQUIRE_FALSE(a == b);
  REQUIRE_FALSE(a == standard);
  REQUIRE(gpu::Stream(a) == a);
  const gpu::Stream high = gpu::stream_from_pool(0, gpu::StreamPriority::kHigh);
  REQUIRE(high.priority() == gpu::StreamPriority::kHigh);
  REQUIRE(a.priority() == gpu::StreamPriority::kNormal);
  REQUIRE_FALSE(high == a);
  // The pool goes round: after 32 more calls, it returns the first stream again.
  for (int i = 0; i < 30; ++i) REQUIRE_FALSE(gpu::stream_from_pool() == a);
  REQUIRE(gpu::stream_from_pool() == a);
}

TEST_CASE("a stream guard sets the current stream of this thread for a scope") {
  const gpu::Stream side = gpu::stream_from_pool(), other = gpu::stream_from_pool();
  REQUIRE(gpu::current_stream() == gpu::default_stream());
  {
    const gpu::StreamGuard guard(side);
    REQUIRE(gpu::current_stream() == side);
    std::thread([] { REQUIRE(gpu::current_stream() == gpu::default_stream()); }).join();
    {
      const gpu::StreamGuard inner(other);
      REQUIRE(gpu::current_stream() == other);
    }
    REQUIRE(gpu::current_stream() == side);
  }
  REQUIRE(gpu::current_stream() == gpu::default_stream());
}

TEST_CASE("work on one stream runs in order") {
  DeviceArray<int> data(std::vector<int>(300, 1));
  const gpu::Stream stream = gpu::stream_from_pool();
  for (int i = 0; i < 5; ++i) {
    add(data.data(), 300, 1, stream);
    multiply(data.data(), 300, 3, stream);
  }
  stream.synchronize();
  REQUIRE(stream.query());
  // x -> 3 (x + 1), five times from 1
  REQUIRE(data.host() == std::vector<int>(300, 606));
}

TEST_CASE("an event orders two streams") {
  const int count = 1 << 16;
  PinnedInts ones(count);
  std::fill(ones.data(), ones.data() + count, 1);
  DeviceArray<int> data(count);
  const gpu::Stream a = gpu::stream_from_pool(), b = gpu::stream_from_pool();
  gpu::copy_async(data.data(), ones.data(), data.size_bytes(), gpu::CopyKind::kHostToDevice, a);
  add(data.data(), count, 6, a);
  gpu::Event ready;
  ready.record(a);
  b.wait(ready);
  multiply(data.data(), count, 5, b);
  gpu::Event done;
  done.record(b);
  done.synchronize();
  REQUIRE(done.query());
  REQUIRE(ready.query());
  REQUIRE(data.host() == std::vector<int>(count, 35));
}

TEST_CASE("an event that never recorded holds nobody up") {
  gpu::Event event;
  REQUIRE(event.query());
  event.synchronize();
  gpu::stream_from_pool().wait(event);
}

TEST_CASE("waiting for an event by polling ends") {
  DeviceArray<int> data(std::vector<int>(10, 0));
  const gpu::Stream stream = gpu::stream_from_pool();
  for (int i = 0; i < 10; ++i) add(data.data(), 10, 1, stream);
  gpu::Event event;
  event.record(stream);
  while (!event.query()) {
  }
  REQUIRE(data.host() == std::vector<int>(10, 10));
  add(data.data(), 10, 1, stream);
  while (!stream.query()) {
  }
  REQUIRE(data.host() == std::vector<int>(10, 11));
}

TEST_CASE("events measure time where asked to") {
  const int count = 1 << 18;
  DeviceArray<int> data(std::vector<int>(count, 0));
  const gpu::Stream stream = gpu::stream_from_pool();
  gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn), silent;
  start.record(stream);
  for (int i = 0; i < 4; ++i) add(data.data(), count, 1, stream);
  end.record(stream);
  end.synchronize();
  REQUIRE(end.elapsed_ms(start) > 0.0f);
  REQUIRE(end.elapsed_ms(start) < 60000.0f);
  silent.record(stream);
  stream.synchronize();
  REQUIRE_THROWS_WITH(silent.elapsed_ms(start), Contains("EventTiming::kOn"));
  gpu::Event moved = std::move(end);
  REQUIRE(moved.elapsed_ms(start) > 0.0f);
}

TEST_CASE("a graph records work and replays it") {
  const int count = 1000;
  DeviceArray<int> data(std::vector<int>(count, 1)), copy(std::vector<int>(count, 0));
  const gpu::Stream stream = gpu::stream_from_pool();
  REQUIRE_FALSE(gpu::is_capturing(stream));
  gpu::begin_capture(stream);
  REQUIRE(gpu::is_capturing(stream));
  add(data.data(), count, 1, stream);
  multiply(data.data(), count, 2, stream);
  gpu::copy_async(copy.data(), data.data(), data.size_bytes(), gpu::CopyKind::kDeviceToDevice, stream);
  const gpu::Graph graph = gpu::end_capture(stream);
  REQUIRE_FALSE(gpu::is_capturing(stream));
  REQUIRE(graph.node_count() == 3);
  REQUIRE(data.host() == std::vector<int>(count, 1));  // recorded, not run
  for (int i = 0; i < 3; ++i) graph.replay(stream);
  stream.synchronize();
  REQUIRE(data.host() == std::vector<int>(count, 22));  // x -> 2 (x + 1), three times from 1
  REQUIRE(copy.host() == std::vector<int>(count, 22));
  REQUIRE_THROWS_WITH(gpu::Graph().replay(stream), Contains("empty"));
}

TEST_CASE("a capture spreads over streams through events") {
  const int count = 500;
  DeviceArray<int> a(std::vector<int>(count, 1)), b(std::vector<int>(count, 2));
  const gpu::Stream origin = gpu::stream_from_pool(), side = gpu::stream_from_pool();
  gpu::begin_capture(origin);
  add(a.data(), count, 1, origin);
  gpu::Event fork, join;
  fork.record(origin);
  side.wait(fork);
  REQUIRE(gpu::is_capturing(side));
  multiply(b.data(), count, 7, side);
  multiply(a.data(), count, 3, origin);
  join.record(side);
  origin.wait(join);
  gpu::copy_async(a.data(), b.data(), sizeof(int), gpu::CopyKind::kDeviceToDevice, origin);
  const gpu::Graph graph = gpu::end_capture(origin);
  REQUIRE_FALSE(gpu::is_capturing(side));
  REQUIRE(graph.node_count() == 4);
  graph.replay(origin);
  origin.synchronize();
  REQUIRE(a.host()[0] == 14);
  REQUIRE(a.host()[1] == 6);
  REQUIRE(b.host() == std::vector<int>(count, 14));
}

TEST_CASE("what a capture forbids") {
  const gpu::Stream stream = gpu::stream_from_pool();
  REQUIRE_THROWS_WITH(gpu::begin_capture(gpu::default_stream()), Contains("default stream"));
  REQUIRE_THROWS_WITH(gpu::end_capture(stream), Contains("no capture"));
  gpu::begin_capture(stream);
  void* block = gpu::allocate(1024);  // allowed
  REQUIRE_THROWS_AS(gpu::deallocate(block), Error);
  gpu::end_capture(stream);
  gpu::deallocate(block);
}

TEST_CASE("device and stream guards follow the device") {
  if (gpu::device_count() < 2) {
    if (!gpu::is_simulated()) return;
    // The simulated build repeats this with two devices in sim_schedule_test.
    REQUIRE_THROWS_WITH(gpu::set_device(1), Contains("cuda:1"));
    return;
  }
  {
    const gpu::DeviceGuard guard(1);
    REQUIRE(gpu::current_device() == 1);
    REQUIRE(gpu::current_stream().device() == 1);
  }
  REQUIRE(gpu::current_device() == 0);
}
