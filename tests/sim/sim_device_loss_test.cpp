// A device that a kernel's fault has ended, as on hardware: every use of it reports one error, and nothing
// else prevents a clean end.

#include <catch2/catch.hpp>

#include "taper/core/gpu/device_check.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/gpu/sim.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "tests/support/child_process.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;

namespace {

__global__ void divide_by(int* out, int by) {
  gpu::device_check(by != 0, "divide_by: the divisor is 0");
  out[threadIdx.x] = 7 / by;
}

void launch_divide(int* out, int by) {
  gpu::launch("divide_by", divide_by, {.grid = 1, .block = 4}, out, by);
}

/// While it lives, a fault loses its device.
struct FinalFaults {
  FinalFaults() { gpu::sim::set_faults_are_final(true); }
  ~FinalFaults() { gpu::sim::reset(); }
};

/// What calling body() throws as a DeviceLostError; "nothing" if it does not.
template <class Body>
std::string loss(Body&& body) {
  try {
    body();
  } catch (const DeviceLostError& error) {
    return error.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("without final faults the simulated device goes on after a fault") {
  DeviceArray<int> out(4);
  launch_divide(out.data(), 0);
  CHECK_THROWS_WITH(gpu::synchronize(), Contains("the divisor is 0"));
  CHECK_FALSE(gpu::is_lost(0));
  launch_divide(out.data(), 7);
  CHECK(out.host() == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("after a final fault every use of the device tells of the first, and memory is given back") {
  const FinalFaults final;
  gpu::sim::set_device_count(2);
  const gpu::Stream stream = gpu::stream_from_pool();
  gpu::Event event;
  event.record(stream);
  int host[4] = {};
  {
    DeviceArray<int> out(4);
    const Tensor x = ops::full({8}, 1, {.device = kCUDA}), shared = ops::full({8}, 1, {.device = kCUDA});
    gpu::record_stream(*shared.storage(), stream);
    launch_divide(out.data(), 0);
    const std::string first = loss([] { gpu::synchronize(); });
    CHECK_THAT(first, Contains("cuda:0 is lost to this process") && Contains("the divisor is 0") &&
                          Contains("kernel divide_by") && Contains("TAPER_ALGORITHM_DENY"));
    CHECK(gpu::is_lost(0));
    CHECK(loss([] { gpu::synchronize(); }) == first);
    CHECK(loss([] { gpu::allocate(16); }) == first);
    CHECK(loss([&] { launch_divide(out.data(), 1); }) == first);
    CHECK(loss([&] { gpu::fill_async(out.data(), 0, 16, stream); }) == first);
    CHECK(loss([&] { gpu::copy_async(host, out.data(), 16, gpu::CopyKind::kDeviceToHost, stream); }) ==
          first);
    CHECK(loss([&] { stream.synchronize(); }) == first);
    CHECK(loss([&] { stream.query(); }) == first);
    CHECK(loss([&] { event.record(stream); }) == first);
    CHECK(loss([&] { gpu::begin_capture(stream); }) == first);
    CHECK(loss([] { gpu::memory_info(); }) == first);
    CHECK(loss([&] { ops::to_vector<float>(x); }) == first);
    CHECK(loss([&] { ops::full({1 << 20}, 1, {.device = kCUDA}); }) == first);

    CHECK_FALSE(gpu::is_lost(1));  // its neighbour works on
    const Tensor y = ops::full({3}, 5, {.device = Device("cuda:1")});
    CHECK(ops::to_vector<float>(y) == std::vector<float>{5, 5, 5});
  }  // tensors and arrays are destroyed without an error
}

TEST_CASE("a repaired device works, and the allocators hand out their memory again") {
  {
    const FinalFaults final;
    const Tensor x = ops::full({8}, 1, {.device = kCUDA});
    launch_divide(static_cast<int*>(x.data_ptr()), 0);
    CHECK_THROWS_AS(gpu::synchronize(), DeviceLostError);
  }
  CHECK_FALSE(gpu::is_lost(0));
  const Tensor x = ops::full({8}, 2, {.device = kCUDA});
  CHECK(ops::to_vector<float>(x) == std::vector<float>(8, 2));
}
