// Tensors on several GPUs and streams, which the simulated GPU gives every machine.

#include <catch2/catch.hpp>

#include "taper/autograd/functions.h"
#include "taper/core/gpu/memory/caching_allocator.h"
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

TEST_CASE("backward runs each gradient on its forward's stream and hands over in order") {
  const gpu::Stream first = gpu::stream_from_pool(), second = gpu::stream_from_pool();
  const Tensor values = ops::arange(0, 2048, 1, {.dtype = kFloat32});
  const auto continue_on = [](gpu::Stream later, gpu::Stream earlier) {
    gpu::Event event;
    event.record(earlier);
    later.wait(event);
  };
  for (uint64_t seed = 0; seed < 200; ++seed) {
    gpu::sim::set_schedule_seed(seed);
    const gpu::Stream home = gpu::current_stream();
    Tensor x = ops::to_device(values, Device("cuda")).set_requires_grad();
    Tensor y, z;
    continue_on(first, home);
    {
      const gpu::StreamGuard guard(first);
      y = x.to(kFloat64);
    }
    continue_on(second, first);
    {
      const gpu::StreamGuard guard(second);
      z = y.clone().to(kFloat32).transpose(0, 0).clone();
    }
    continue_on(home, second);
    const Tensor gradient = ops::to_device(values, Device("cuda"));
    z.backward(gradient);
    ops::fill_(gradient, -1);  // backward has been ordered before this
    REQUIRE(ops::to_vector<float>(x.grad()) == ops::to_vector<float>(values));
  }
}
