#include "taper/ops/random/random.h"

#include "taper/core/base/ceil_div.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/op_call.h"
#include "taper/ops/random/random_cpu.h"
#include "taper/ops/random/random_gpu.h"

namespace taper::ops {
namespace {

/// Takes the counters for x and calls fill(row-major tensor, range). Other layouts get a copy of the filled
/// values.
template <class Fill>
void fill_random(std::string_view op, const Tensor& x, bool two_lanes, Generator& generator, Fill fill) {
  check_writable(op, x);
  const int64_t per_block = two_lanes ? 2 : 4;
  const DrawnRange range = generator.reserve(uint64_t(ceil_div(x.numel(), per_block)), x.device());
  if (x.numel() > 0) {
    if (x.is_contiguous()) {
      fill(x, range);
    } else {
      const Tensor values = empty(x.shape(), {.dtype = x.dtype(), .device = x.device()});
      fill(values, range);
      return copy_(x, values);
    }
  }
  x.bump_version();
}

}  // namespace

void uniform_(const Tensor& x, double low, double high, Generator& generator) {
  const OpCall call("uniform_", x);
  check_defined("uniform_", "tensor", x);
  check_floating_point("uniform_", x);
  TAPER_CHECK(low <= high, "uniform_: needs low <= high, got {} and {}", low, high);
  fill_random("uniform_", x, x.dtype() == kFloat64, generator, [&](const Tensor& t, const DrawnRange& range) {
    t.device().is_cuda() ? uniform_gpu(t, low, high, range) : uniform_cpu(t, low, high, range.first);
  });
}

void normal_(const Tensor& x, double mean, double std, Generator& generator) {
  const OpCall call("normal_", x);
  check_defined("normal_", "tensor", x);
  check_floating_point("normal_", x);
  TAPER_CHECK(std >= 0, "normal_: the standard deviation must not be negative, got {}", std);
  fill_random("normal_", x, x.dtype() == kFloat64, generator, [&](const Tensor& t, const DrawnRange& range) {
    t.device().is_cuda() ? normal_gpu(t, mean, std, range) : normal_cpu(t, mean, std, range.first);
  });
}

void bernoulli_(const Tensor& x, double p, Generator& generator) {
  const OpCall call("bernoulli_", x);
  check_defined("bernoulli_", "tensor", x);
  TAPER_CHECK(p >= 0 && p <= 1, "bernoulli_: p must be between 0 and 1, got {}", p);
  fill_random("bernoulli_", x, false, generator, [&](const Tensor& t, const DrawnRange& range) {
    t.device().is_cuda() ? bernoulli_gpu(t, p, range) : bernoulli_cpu(t, p, range.first);
  });
}

void randint_(const Tensor& x, int64_t low, int64_t high, Generator& generator) {
  const OpCall call("randint_", x);
  check_defined("randint_", "tensor", x);
  TAPER_CHECK(low < high, "randint_: needs low < high, got {} and {}", low, high);
  TAPER_CHECK(x.dtype() != kBool || (low >= 0 && high <= 2),
              "randint_: bool holds 0 and 1, not the numbers from {} to {}", low, high - 1);
  for (const int64_t end : {low, high - 1}) Scalar(end).as_element(x.dtype(), "randint_");
  const uint64_t span = uint64_t(high) - uint64_t(low);
  const bool wide = span > uint64_t(1) << 32;
  fill_random("randint_", x, wide, generator, [&](const Tensor& t, const DrawnRange& range) {
    t.device().is_cuda() ? randint_gpu(t, low, span, wide, range)
                         : randint_cpu(t, low, span, wide, range.first);
  });
}

Tensor rand(const Shape& shape, const TensorOptions& options, Generator& generator) {
  const Tensor x = empty(shape, options);
  uniform_(x, 0, 1, generator);
  return x;
}

Tensor randn(const Shape& shape, const TensorOptions& options, Generator& generator) {
  const Tensor x = empty(shape, options);
  normal_(x, 0, 1, generator);
  return x;
}

Tensor randint(int64_t low, int64_t high, const Shape& shape, const TensorOptions& options,
               Generator& generator) {
  const Tensor x = empty(shape, options);
  randint_(x, low, high, generator);
  return x;
}

Tensor randperm(int64_t count, Generator& generator) {
  const OpCall call("randperm");
  TAPER_CHECK(count >= 0, "randperm: count must not be negative, got {}", count);
  const Tensor x = arange(count);
  const DrawnRange range = generator.reserve(uint64_t((count + 1) / 2));
  if (count > 0) shuffle_cpu(x, range.first);
  return x;
}

DropoutResult dropout(const Tensor& x, double p, Generator& generator) {
  const OpCall call("dropout", x);
  check_defined("dropout", "input", x);
  check_floating_point("dropout", x);
  TAPER_CHECK(p >= 0 && p <= 1, "dropout: p must be between 0 and 1, got {}", p);
  const double scale = p < 1 ? 1 / (1 - p) : 0;
  const Tensor mask = empty(x.shape(), {.dtype = kBool, .device = x.device()});
  if (x.device().is_cuda() && x.is_contiguous() && x.numel() > 0) {
    const Tensor y = empty_like(x);
    dropout_gpu(x, y, mask, 1 - p, scale, generator.reserve(uint64_t((x.numel() + 3) / 4), x.device()));
    return {y, mask};
  }
  bernoulli_(mask, 1 - p, generator);
  return {where(mask, mul(x, scale), 0), mask};
}

}  // namespace taper::ops
