// Values that only kernels see: bad ones are reported.

#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/index/index.h"
#include "taper/ops/loss/cross_entropy.h"
#include "tests/support/test_tensors.h"

#include <catch2/catch.hpp>

using namespace taper;
using Catch::Contains;

TEST_CASE("an index or a class out of range ends the kernel with a report that names the operation") {
  const Device device("cuda");
  const Tensor x = ops::ones({3, 4}, {.device = device});
  const auto at = [&](std::vector<int64_t> values) { return from_vector(values).to(device); };
  const auto fails = [](auto&& run, const char* op) {
    run();
    CHECK_THROWS_WITH(gpu::synchronize(), Contains(op) && Contains("out of range") && Contains("kernel"));
  };
  fails([&] { ops::index_select(x, 0, at({0, 3})); }, "index_select");
  fails([&] { ops::gather(x, 0, ops::full({3, 4}, -1, {.dtype = kInt64, .device = device})); }, "gather");
  fails([&] { ops::one_hot(at({1, 7}), 5); }, "one_hot");
  fails([&] { ops::index_add(x, 0, at({3}), ops::ones({1, 4}, {.device = device})); }, "index_add");
  ops::cross_entropy(x, at({0, 4, 1}));
  CHECK_THROWS_WITH(gpu::synchronize(), Contains("cross_entropy") && Contains("kernel"));
  // What is ignored is in range.
  ops::cross_entropy(x, at({0, -100, 1}));
  CHECK_NOTHROW(gpu::synchronize());
}
