// The simulated GPU as an instrument: each test plants a fault and sees it reported.

#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>

#include "taper/core/base/error.h"
#include "taper/core/gpu/async_copy.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/sim.h"
#include "tests/support/child_process.h"
#include "tests/support/fault_report.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;
using test::fault_report;

namespace {

__global__ void write_at(int* data, int thread, int64_t index) {
  if (blockIdx.x == 2 && static_cast<int>(threadIdx.x) == thread) data[index] = 1;
}

__global__ void read_at(const int* data, int* out, int64_t index) {
  if (threadIdx.y == 1 && threadIdx.x == 3) *out = data[index];
}

__global__ void overrun_shared(int* out, int index) {
  int* shared = gpu::dynamic_shared<int>();
  shared[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 9) shared[index] = 2;
  *out = shared[0];
}

__global__ void branch_around_barrier() {
  if (threadIdx.x % 2 == 0) __syncthreads();
}

__global__ void two_barriers() {
  if (threadIdx.x < 5)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void diverging_warp() {
  if (threadIdx.x < 32)
    __shfl_xor_sync(0xffffffffu, 1, 1);
  else if (threadIdx.x != 40)
    __syncwarp();
  else
    __syncthreads();
}

__global__ void wrong_mask() {
  if (threadIdx.x == 6) __syncwarp(0x0fu);
}

__global__ void shuffle_from_nobody(int* out) {
  *out = __shfl_sync(0xffffffffu, 1, 20);
}

__global__ void recurse(int* out, int depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  if (depth > 0) recurse(out, depth - 1);
  *out = frame[0];
}

__global__ void divide(int* out, int by) {
  *out = 7 / by;
}

__global__ void copy_one(const float* in, float* out) {
  *out = *in;
}

__global__ void read_too_early(const float* in, float* out) {
  float* shared = gpu::dynamic_shared<float>();
  gpu::async_copy<4>(shared, in);
  gpu::async_copy_commit();
  out[0] = shared[0];
  gpu::async_copy_wait<0>();
  out[1] = shared[0];
}

__global__ void touch(int* data) {
  data[threadIdx.x] += 1;
}

}  // namespace

TEST_CASE("a write past the end of a block is reported with kernel, block and thread") {
  DeviceArray<int> data(256);
  const auto text = fault_report(
      [&] { gpu::launch("write_at", write_at, {.grid = 4, .block = 64}, data.data(), 17, 257); });
  REQUIRE_THAT(text, Contains("illegal write to") &&
                         Contains("4 bytes past the end of a 1024-byte block on cuda:0") &&
                         Contains("kernel write_at, block (2, 0, 0), thread (17, 0, 0)"));
}

TEST_CASE("a read before the start of a block is reported") {
  DeviceArray<int> data(1024), out(1);
  const auto text = fault_report([&] {
    gpu::launch("read_at", read_at, {.grid = 1, .block = dim3(4, 2)}, data.data(), out.data(), -4);
  });
  REQUIRE_THAT(text, Contains("illegal read from") && Contains("16 bytes before a 4096-byte block") &&
                         Contains("kernel read_at, block (0, 0, 0), thread (3, 1, 0)"));
}

TEST_CASE("a kernel that touches a freed block is reported") {
  int* freed = nullptr;
  {
    const DeviceArray<int> data(100);
    freed = data.data();
  }
  const auto text =
      fault_report([&] { gpu::launch("write_at", write_at, {.grid = 3, .block = 32}, freed, 5, 10); });
  REQUIRE_THAT(text,
               (Contains("40 bytes into a freed 400-byte block on cuda:0") || Contains("use-after-poison")) &&
                   Contains("kernel write_at, block (2, 0, 0), thread (5, 0, 0)"));
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("AddressSanitizer sees the last bytes of a block and the pieces an allocator cut it into") {
  DeviceArray<int> data(100);  // of 512 bytes' worth of alignment
  const std::string thread = "taper: in kernel write_at, block (2, 0, 0), thread (1, 0, 0)";
  auto write = [&](int64_t index) {
    return fault_report(
        [&] { gpu::launch("write_at", write_at, {.grid = 3, .block = 32}, data.data(), 1, index); });
  };
  REQUIRE_THAT(write(99), Contains("nothing reported"));
  REQUIRE_THAT(write(100), Contains("use-after-poison") && Contains("WRITE of size 4") && Contains(thread));
  gpu::annotate_freed(data.data() + 64, 128, gpu::current_stream());
  REQUIRE_THAT(write(64), Contains("use-after-poison") && Contains(thread));
  REQUIRE_THAT(write(63), Contains("nothing reported"));
  gpu::annotate_allocated(data.data() + 64, 128, gpu::current_stream());
  REQUIRE_THAT(write(64), Contains("nothing reported"));
}
#endif

TEST_CASE("an overrun of dynamic shared memory is reported") {
  DeviceArray<int> out(1);
  const auto text = fault_report([&] {
    gpu::launch("overrun_shared", overrun_shared, {.grid = 1, .block = 64, .dynamic_shared_bytes = 256},
                out.data(), 64);
  });
  REQUIRE_THAT(text, Contains("0 bytes past the end of 256 bytes of dynamic shared memory") &&
                         Contains("kernel overrun_shared, block (0, 0, 0), thread (9, 0, 0)"));
}

TEST_CASE("a kernel thread that outgrows its stack is reported") {
  DeviceArray<int> out(1);
  const auto text =
      fault_report([&] { gpu::launch("recurse", recurse, {.grid = 1, .block = 1}, out.data(), 1000); });
  REQUIRE_THAT(text, Contains("stack") && Contains("kernel recurse"));
}

#if !defined(__SANITIZE_ADDRESS__)  // UBSan reports this by source line, and knows no threads
TEST_CASE("a kernel that follows a null pointer is reported") {
  const auto text =
      fault_report([&] { gpu::launch("write_at", write_at, {.grid = 3, .block = 1}, nullptr, 0, 0); });
  REQUIRE_THAT(text, Contains("illegal write to") && Contains("not device memory") && Contains("write_at"));
}

#endif

TEST_CASE("a kernel on one device may not touch another's memory") {
  gpu::sim::set_device_count(2);
  {
    DeviceArray<int> here(10);
    const gpu::DeviceGuard guard(1);
    const auto text = fault_report([&] {
      gpu::launch("touch", touch, {.grid = 1, .block = 1}, here.data());
      gpu::synchronize(1);
    });
    REQUIRE_THAT(text, Contains("0 bytes into a 40-byte block on cuda:0") && Contains("kernel touch"));
  }
  gpu::sim::reset();
}

TEST_CASE("integer division by zero in a kernel is reported") {
  DeviceArray<int> out(1);
  const auto text =
      fault_report([&] { gpu::launch("divide", divide, {.grid = 1, .block = 1}, out.data(), 0); });
  REQUIRE_THAT(text, Contains("division by zero"));
  gpu::launch("divide", divide, {.grid = 1, .block = 1}, out.data(), 2);
  REQUIRE(out.host()[0] == 3);
}

TEST_CASE("a barrier that not every thread reaches is reported") {
  const auto text = fault_report(
      [&] { gpu::launch("branch_around_barrier", branch_around_barrier, {.grid = 2, .block = 8}); });
  REQUIRE_THAT(text, Contains("divergent barrier: 4 of 8 threads") && Contains("sim_fault_test.cpp:") &&
                         Contains("4 have returned") &&
                         Contains("kernel branch_around_barrier, block (0, 0, 0)"));
}

TEST_CASE("threads at two different barriers are reported") {
  const auto text = fault_report([&] { gpu::launch("two_barriers", two_barriers, {.grid = 1, .block = 8}); });
  REQUIRE_THAT(text, Contains("divergent barrier: this thread reached __syncthreads at") &&
                         Contains("while thread (") && Contains("kernel two_barriers"));
}

TEST_CASE("a lane that its warp waits for in vain is reported") {
  const auto text =
      fault_report([&] { gpu::launch("diverging_warp", diverging_warp, {.grid = 1, .block = 64}); });
  REQUIRE_THAT(text, Contains("divergent warp") && Contains("warp 1 waits in __syncwarp") &&
                         Contains("for lane 8") && Contains("kernel diverging_warp"));
}

TEST_CASE("a mask that leaves out the caller is reported") {
  const auto text = fault_report([&] { gpu::launch("wrong_mask", wrong_mask, {.grid = 1, .block = 32}); });
  REQUIRE_THAT(text,
               Contains("mask 0x0000000f does not name the calling lane 6") && Contains("thread (6, 0, 0)"));
}

TEST_CASE("a shuffle from a lane that does not exist is reported") {
  DeviceArray<int> out(1);
  const auto text = fault_report(
      [&] { gpu::launch("shuffle_from_nobody", shuffle_from_nobody, {.grid = 1, .block = 16}, out.data()); });
  REQUIRE_THAT(text, Contains("a shuffle reads a lane that is not in its mask") &&
                         Contains("kernel shuffle_from_nobody"));
}

TEST_CASE("after a fault the device is usable again") {
  DeviceArray<int> data(std::vector<int>(32, 1));
  const auto text = fault_report([&] {
    gpu::launch("branch_around_barrier", branch_around_barrier, {.grid = 1, .block = 32});
    gpu::launch("touch", touch, {.grid = 1, .block = 32}, data.data());  // dropped with the rest of the queue
  });
  REQUIRE_THAT(text, Contains("divergent barrier"));
  REQUIRE(data.host() == std::vector<int>(32, 1));
  gpu::launch("touch", touch, {.grid = 1, .block = 32}, data.data());
  REQUIRE(data.host() == std::vector<int>(32, 2));
}

TEST_CASE("host code that touches device memory faults, and the report says what it touched") {
  DeviceArray<int> data(std::vector<int>(100, 1));
  for (const bool write : {false, true}) {
    const auto child = test::run_in_child([&] {
      signal(SIGSEGV, SIG_DFL);  // the test framework's own handler
      gpu::sim::reset();         // a child has no GPU otherwise
      gpu::launch("touch", touch, {.grid = 1, .block = 100}, data.data());
      gpu::synchronize();  // the device's memory is open here, and closed again after
      volatile int* there = data.data() + 3;
      if (write)
        *there = 1;
      else [[maybe_unused]]
        const int value = *there;
    });
    CAPTURE(child.stderr_text);
    REQUIRE((child.signal == SIGSEGV || child.exit_code != 0));
    REQUIRE_THAT(child.stderr_text, Contains("host code touched device memory") &&
                                        Contains(write ? "write to" : "read from") &&
                                        Contains("12 bytes into a 400-byte block on cuda:0"));
  }
}

TEST_CASE("fresh device memory reads as NaN") {
  DeviceArray<float> fresh(1), out(1);
  gpu::launch("copy_one", copy_one, {.grid = 1, .block = 1}, fresh.data(), out.data());
  REQUIRE(std::isnan(out.host()[0]));
}

TEST_CASE("memory that an allocator took back reads as NaN for who comes too late") {
  DeviceArray<float> data(std::vector<float>{1.0f, 2.0f, 3.0f, 4.0f}), out(1);
  gpu::annotate_freed(data.data(), 4 * sizeof(float), gpu::current_stream());
  gpu::annotate_allocated(data.data(), 4 * sizeof(float), gpu::current_stream());
  gpu::launch("copy_one", copy_one, {.grid = 1, .block = 1}, data.data(), out.data());
  REQUIRE(std::isnan(out.host()[0]));
}

TEST_CASE("an asynchronous copy lands no earlier than it must") {
  DeviceArray<float> in(std::vector<float>{3.0f}), out(2);
  gpu::launch("read_too_early", read_too_early, {.grid = 1, .block = 1, .dynamic_shared_bytes = 4}, in.data(),
              out.data());
  REQUIRE(std::isnan(out.host()[0]));
  REQUIRE(out.host()[1] == 3.0f);
}

TEST_CASE("copies and fills that do not fit are refused at the call") {
  DeviceArray<int> data(4);
  std::vector<int> host(8);
  const gpu::Stream stream = gpu::current_stream();
  REQUIRE_THROWS_WITH(gpu::copy_async(data.data(), host.data(), 20, gpu::CopyKind::kHostToDevice, stream),
                      Contains("20 bytes at the destination do not fit") && Contains("16-byte block"));
  REQUIRE_THROWS_WITH(gpu::copy_async(host.data(), data.data() + 1, 16, gpu::CopyKind::kDeviceToHost, stream),
                      Contains("source") && Contains("4 bytes into a 16-byte block"));
  REQUIRE_THROWS_WITH(gpu::copy_async(data.data(), host.data(), 4, gpu::CopyKind::kDeviceToHost, stream),
                      Contains("copy kind"));
  REQUIRE_THROWS_WITH(gpu::fill_async(data.data(), 0, 17, stream), Contains("17 bytes"));
}

TEST_CASE("the n-th allocation, copy or launch fails on demand") {
  DeviceArray<int> data(std::vector<int>(32, 0));
  std::vector<int> host(32);
  const gpu::Stream stream = gpu::current_stream();
  auto allocate = [] { gpu::deallocate(gpu::allocate(16)); };
  auto copy = [&] { gpu::copy_async(host.data(), data.data(), 128, gpu::CopyKind::kDeviceToHost, stream); };
  auto launch = [&] { gpu::launch("touch", touch, {.grid = 1, .block = 32}, data.data()); };

  gpu::sim::fail_call(gpu::sim::FaultPoint::kAllocate, 2);
  allocate();
  REQUIRE_THROWS_AS(allocate(), OutOfMemoryError);
  allocate();
  gpu::sim::fail_call(gpu::sim::FaultPoint::kCopy, 1);
  REQUIRE_THROWS_WITH(copy(), Contains("copy_async of 128 bytes") && Contains("injected"));
  copy();
  gpu::sim::fail_call(gpu::sim::FaultPoint::kLaunch, 3);
  launch();
  launch();
  REQUIRE_THROWS_WITH(launch(),
                      Contains("launch of touch") && Contains("block (32, 1, 1)") && Contains("injected"));
  launch();
  REQUIRE(data.host() == std::vector<int>(32, 3));
  REQUIRE_THROWS_AS(gpu::sim::fail_call(gpu::sim::FaultPoint::kCopy, 0), Error);
}

TEST_CASE("a set memory limit is what the device has") {
  const size_t held = gpu::sim::allocated_bytes();
  gpu::sim::set_memory_limit(held + 1000);
  REQUIRE(gpu::memory_info().total_bytes == held + 1000);
  REQUIRE(gpu::memory_info().free_bytes == 1000);
  void* block = gpu::allocate(600);
  REQUIRE(gpu::memory_info().free_bytes == 400);
  REQUIRE(gpu::sim::allocated_bytes() == held + 600);
  REQUIRE_THROWS_WITH(gpu::allocate(401), Contains("allocate of 401 bytes failed") && Contains("in use"));
  gpu::deallocate(gpu::allocate(400));
  gpu::deallocate(block);
  gpu::sim::reset();
}
