// Tensors on several GPUs and streams, which the simulated GPU gives every machine.

#include <catch2/catch.hpp>

#include "taper/core/gpu/caching_allocator.h"
#include "taper/core/gpu/sim.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

using namespace taper;

namespace {
struct TwoDevices {
  TwoDevices() { gpu::sim::set_device_count(2); }
  ~TwoDevices() { gpu::sim::reset(); }
};
}  // namespace

TEST_CASE("tensors move between GPUs, in order with the work on both, for every order of streams") {
  const TwoDevices two;
  const Tensor x = ops::arange(0, 4096, 1, {.dtype = kFloat32});
  for (uint64_t seed = 0; seed < 50; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    const Tensor first = ops::to_device(x, Device("cuda:0"));
    const Tensor second = ops::to_device(first, Device("cuda:1"));
    ops::fill_(first, 0);  // after the copy has read it
    const Tensor third = ops::cast(second, kFloat64);
    CHECK(third.device() == Device("cuda:1"));
    REQUIRE(ops::to_vector<float>(third) == ops::to_vector<float>(x));
    const Tensor mixed = ops::zeros({4096}, {.dtype = kBFloat16, .device = Device("cuda:0")});
    ops::copy_(mixed, second);
    REQUIRE(ops::to_vector<float>(mixed) == ops::to_vector<float>(ops::cast(x, kBFloat16)));
  }
}
