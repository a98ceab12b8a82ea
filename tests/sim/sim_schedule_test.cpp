// Streams of the simulated GPU run late, in an order drawn from a seed, and so reveal missing waits.

#include <catch2/catch.hpp>
#include <set>

#include "taper/core/base/error.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/sim.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;

namespace {

__global__ void mix_in(unsigned* data, const unsigned* other, unsigned constant) {
  const unsigned i = threadIdx.x;
  data[i] = data[i] * 1664525u + other[(i * 7 + 3) % blockDim.x] + constant;
}

constexpr unsigned kCount = 64;
constexpr size_t kBytes = kCount * sizeof(unsigned);

void mix(unsigned* data, const unsigned* other, unsigned constant, gpu::Stream stream) {
  gpu::launch("mix_in", mix_in, {.grid = 1, .block = kCount, .stream = stream}, data, other, constant);
}

/// A pipeline over three streams with copies, kernels, events, a graph and frees. Leaves out the wait
/// numbered `left_out` of its kWaits; -1: none.
constexpr int kWaits = 5;
std::vector<unsigned> pipeline(int left_out) {
  auto wait = [left_out](int number, gpu::Stream stream, const gpu::Event& event) {
    if (number != left_out) stream.wait(event);
  };
  const gpu::Stream load = gpu::stream_from_pool(), work = gpu::stream_from_pool();
  const gpu::Stream side = gpu::stream_from_pool(0, gpu::StreamPriority::kHigh);
  auto* staged = static_cast<unsigned*>(gpu::allocate_pinned(kBytes));
  auto* result = static_cast<unsigned*>(gpu::allocate_pinned(kBytes));
  auto* input = static_cast<unsigned*>(gpu::allocate(kBytes));
  auto* state = static_cast<unsigned*>(gpu::allocate(kBytes));
  auto* scratch = static_cast<unsigned*>(gpu::allocate(kBytes));
  gpu::Event loaded, consumed, branched, joined, initialised;

  gpu::fill_async(state, 0x11, kBytes, side);
  gpu::fill_async(scratch, 0x22, kBytes, side);
  initialised.record(side);
  wait(0, work, initialised);
  for (unsigned step = 0; step < 4; ++step) {
    if (step > 0) {
      loaded.synchronize();  // the host may fill `staged` again
      wait(1, load, consumed);
    }
    for (unsigned i = 0; i < kCount; ++i) staged[i] = i * i + step;
    gpu::copy_async(input, staged, kBytes, gpu::CopyKind::kHostToDevice, load);
    loaded.record(load);
    wait(2, work, loaded);
    mix(state, input, step, work);
    consumed.record(work);
    branched.record(work);
    wait(3, side, branched);
    mix(scratch, state, 5, side);
    joined.record(side);
    wait(4, work, joined);
    mix(state, scratch, 9, work);
  }
  gpu::copy_async(result, state, kBytes, gpu::CopyKind::kDeviceToHost, work);
  work.synchronize();
  std::vector<unsigned> values(result, result + kCount);
  gpu::deallocate(input);
  gpu::deallocate(state);
  gpu::deallocate(scratch);
  gpu::deallocate_pinned(staged);
  gpu::deallocate_pinned(result);
  return values;
}

__global__ void append(int* log, int* length, int value) {
  log[(*length)++] = value;
}

/// Returns the order in which three streams of four kernels each ran.
std::vector<int> order_of_streams(uint64_t seed) {
  gpu::sim::set_schedule_seed(seed);
  DeviceArray<int> log(12), length(std::vector<int>{0});
  for (int s = 0; s < 3; ++s) {
    const gpu::Stream stream = gpu::stream_from_pool();
    for (int i = 0; i < 4; ++i) {
      gpu::launch("append", append, {.grid = 1, .block = 1, .stream = stream}, log.data(), length.data(), s);
    }
  }
  gpu::synchronize();
  return log.host();
}

__global__ void count_up(int* counter) {
  *counter += 1;
}

}  // namespace

TEST_CASE("a thousand stream orders give the same bits") {
  const std::vector<unsigned> expected = pipeline(-1);
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    if (pipeline(-1) != expected) {
      CAPTURE(seed);
      REQUIRE(pipeline(-1) == expected);
    }
  }
  gpu::sim::reset();
}

TEST_CASE("without any one of its waits, some order gives other bits") {
  const std::vector<unsigned> expected = pipeline(-1);
  for (int left_out = 0; left_out < kWaits; ++left_out) {
    int different = 0;
    for (uint64_t seed = 1; seed <= 100; ++seed) {
      gpu::sim::set_schedule_seed(seed);
      different += pipeline(left_out) != expected;
    }
    CAPTURE(left_out);
    CHECK(different > 0);
  }
  gpu::sim::reset();
}

TEST_CASE("the seed decides the order of streams") {
  std::set<std::vector<int>> orders;
  for (uint64_t seed = 0; seed < 50; ++seed) orders.insert(order_of_streams(seed));
  REQUIRE(orders.size() > 25);
  gpu::sim::reset();
}

TEST_CASE("nothing runs before somebody waits") {
  DeviceArray<int> counter(std::vector<int>{0});
  auto* seen = static_cast<int*>(gpu::allocate_pinned(sizeof(int)));
  *seen = -1;
  const gpu::Stream stream = gpu::stream_from_pool();
  gpu::launch("count_up", count_up, {.grid = 1, .block = 1, .stream = stream}, counter.data());
  gpu::copy_async(seen, counter.data(), sizeof(int), gpu::CopyKind::kDeviceToHost, stream);
  gpu::Event event;
  event.record(stream);
  REQUIRE(*seen == -1);
  event.synchronize();
  REQUIRE(*seen == 1);
  gpu::deallocate_pinned(seen);
}

TEST_CASE("pinned memory that the host changes too early shows") {
  // If the source were pageable, the call would already have read it.
  auto* source = static_cast<int*>(gpu::allocate_pinned(sizeof(int)));
  DeviceArray<int> data(1);
  *source = 1;
  gpu::copy_async(data.data(), source, sizeof(int), gpu::CopyKind::kHostToDevice, gpu::current_stream());
  *source = 2;
  REQUIRE(data.host()[0] == 2);
  gpu::deallocate_pinned(source);
}

TEST_CASE("a long queue is worked off without anybody waiting") {
  DeviceArray<int> counter(std::vector<int>{0});
  for (int i = 0; i < 5000; ++i) gpu::launch("count_up", count_up, {.grid = 1, .block = 1}, counter.data());
  REQUIRE(counter.host()[0] == 5000);
}

TEST_CASE("several devices have their own memory, streams and current device") {
  gpu::sim::set_device_count(3);
  REQUIRE(gpu::device_count() == 3);
  DeviceArray<int> first(std::vector<int>{40});
  {
    const gpu::DeviceGuard guard(2);
    REQUIRE(gpu::current_device() == 2);
    REQUIRE(gpu::current_stream().device() == 2);
    DeviceArray<int> second(std::vector<int>{0});
    REQUIRE(gpu::sim::allocated_bytes(2) == sizeof(int));
    gpu::copy_async(second.data(), first.data(), sizeof(int), gpu::CopyKind::kDeviceToDevice,
                    gpu::current_stream());
    gpu::launch("count_up", count_up, {.grid = 1, .block = 1}, second.data());
    REQUIRE(second.host()[0] == 41);
    const gpu::StreamGuard stream(gpu::stream_from_pool(1));
    REQUIRE(gpu::current_device() == 1);
  }
  REQUIRE(gpu::current_device() == 0);
  REQUIRE(gpu::sim::allocated_bytes(2) == 0);
  REQUIRE_THROWS_AS(gpu::sim::set_device_count(17), Error);
  gpu::sim::set_device_count(0);
  REQUIRE(gpu::device_count() == 0);
  REQUIRE_THROWS_WITH(gpu::allocate(1, 0), Contains("0 devices"));
  gpu::sim::reset();
  REQUIRE(gpu::device_count() == 1);
}

TEST_CASE("a captured graph runs its branches in seeded orders") {
  std::set<std::vector<int>> orders;
  const gpu::Stream origin = gpu::stream_from_pool(), side = gpu::stream_from_pool();
  DeviceArray<int> log(6), length(std::vector<int>{0});
  gpu::begin_capture(origin);
  gpu::Event fork, join;
  fork.record(origin);
  side.wait(fork);
  for (int i = 0; i < 3; ++i) {
    for (const auto& [stream, value] : {std::pair(origin, 1), std::pair(side, 2)}) {
      gpu::launch("append", append, {.grid = 1, .block = 1, .stream = stream}, log.data(), length.data(),
                  value);
    }
  }
  join.record(side);
  origin.wait(join);
  const gpu::Graph graph = gpu::end_capture(origin);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    gpu::fill_async(length.data(), 0, sizeof(int), origin);
    graph.replay(origin);
    origin.synchronize();
    orders.insert(log.host());
  }
  REQUIRE(orders.size() > 5);
  gpu::sim::reset();
}

TEST_CASE("a capture that leaves a stream behind is refused") {
  const gpu::Stream origin = gpu::stream_from_pool(), side = gpu::stream_from_pool();
  DeviceArray<int> counter(std::vector<int>{0});
  gpu::begin_capture(origin);
  gpu::Event fork, outside;
  fork.record(origin);
  side.wait(fork);
  gpu::launch("count_up", count_up, {.grid = 1, .block = 1, .stream = side}, counter.data());
  outside.record(gpu::default_stream());
  REQUIRE_THROWS_WITH(origin.wait(outside), Contains("outside the capture"));
  REQUIRE_THROWS_WITH(origin.synchronize(), Contains("capturing"));
  REQUIRE_THROWS_WITH(fork.synchronize(), Contains("capturing"));
  REQUIRE_THROWS_WITH(gpu::end_capture(origin), Contains("joined the capture"));
  REQUIRE_FALSE(gpu::is_capturing(side));
  REQUIRE(counter.host()[0] == 0);
}
