// What a profile says of the memory that ops and their kernels move at least.

#include <catch2/catch.hpp>
#include <cmath>

#include "skip.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/profiler.h"
#include "test_tensors.h"

using namespace taper;

namespace {

constexpr int64_t kRows = 64, kInner = 128, kColumns = 32;
constexpr int64_t kXBytes = 4 * kRows * kInner, kWBytes = 4 * kInner * kColumns,
                  kYBytes = 4 * kRows * kColumns;

constexpr int64_t kMatmulBytes = kXBytes + kWBytes + kYBytes,
                  kBackwardBytes = kYBytes + 2 * (kXBytes + kWBytes);

struct Sum {
  int64_t bytes = 0, spans = 0;
};

/// Of the spans for which `counts` holds.
template <class Counts>
Sum sum_of(const Profile& profile, Counts&& counts) {
  Sum sum;
  for (const ProfileSpan& span : profile.spans) {
    if (!counts(span)) continue;
    sum.bytes += span.bytes;
    ++sum.spans;
  }
  return sum;
}

/// A product, forward and backward, and a gradient that comes from two sides.
Profile profile_of_product(Device device) {
  Tensor x = random_tensor({kRows, kInner}, kFloat32).to(device),
         w = random_tensor({kInner, kColumns}, kFloat32, 2).to(device);
  x.set_requires_grad(true);
  w.set_requires_grad(true);
  Profiler profiler({.memory = false});
  const Tensor y = matmul(x, w);
  backward({y}, {ones_like(y)});
  return profiler.stop();
}

}  // namespace

TEST_CASE("an op's bytes are its inputs and its results, those of a backward pass also what was saved") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const Profile profile = profile_of_product(device);
    const auto bytes_of = [&](const char* name) {
      return sum_of(profile, [&](const ProfileSpan& span) { return span.device < 0 && span.name == name; })
          .bytes;
    };
    CHECK(bytes_of("matmul") == kMatmulBytes);
    CHECK(bytes_of("matmul backward") == kBackwardBytes);
  }
}

TEST_CASE("the kernels of an op share its bytes") {
  if (gpu::device_count() == 0) return skip("no GPU");
  const Profile profile = profile_of_product(kCUDA);
  if (!profile.note.empty()) return skip(profile.note);  // no kernels in it, and why
  // The backward pass is made of products, too.
  const Sum kernels = sum_of(
      profile, [](const ProfileSpan& span) { return span.kind == SpanKind::kKernel && span.op == "matmul"; });
  REQUIRE(kernels.spans >= 3);
  CHECK(std::abs(kernels.bytes - kMatmulBytes - kBackwardBytes) <= kernels.spans);  // each share is rounded
}
