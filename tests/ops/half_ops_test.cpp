// f16 and bf16 on the CPU: every op computes in f32 what it reads and rounds its results once. So it gives what
// the op on tensors cast to f32 gives, cast back: to the bit, but for batch norm, which adds half types up in a
// way of their own.

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/image/normalize_images.h"
#include "taper/ops/loss/cross_entropy.h"
#include "taper/ops/norm/batch_norm.h"
#include "taper/ops/pool/pool2d.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

using Tensors = std::vector<Tensor>;

struct HalfCase {
  std::string name;
  /// From two images [N, C, H, W].
  std::function<Tensors(const Tensor&, const Tensor&)> run;
};

/// Returns a gradient of numbers that every floating-point dtype holds.
Tensor gradient_of(const Tensor& y) {
  const Tensor numbers = ops::mul(ops::round(random_tensor(y.shape(), kFloat32, 7, 64)), 1.0 / 64);
  return ops::cast(y.dim() == 4 ? ops::contiguous(numbers, kChannelsLast) : numbers, y.dtype());
}

Tensors batch_norm_passes(const Tensor& x, const Tensor& residual, bool relu, bool with_residual) {
  const int64_t channels = x.size(1);
  const Tensor weight = random_tensor({channels}, kFloat32, 3), bias = random_tensor({channels}, kFloat32, 4);
  const Tensor mean = ops::zeros({channels}), var = ops::ones({channels});
  const BatchNormOptions options = {.relu = relu};
  const Tensor added = with_residual ? residual : Tensor();
  const auto out = ops::batch_norm_training(x, weight, bias, mean, var, options, added, true);
  const auto grads = ops::batch_norm_backward(residual, x, out.relu_mask, weight, out.save_mean,
                                              out.save_invstd, options, with_residual);
  Tensors all = {
      out.y,        out.save_mean, out.save_invstd,
      mean,         var,           grads.x,
      grads.weight, grads.bias,    ops::batch_norm_inference(x, weight, bias, mean, var, options, added)};
  if (relu) all.push_back(out.relu_mask);
  if (with_residual) all.push_back(grads.residual);
  return all;
}

Tensors max_pool_passes(const Tensor& x, const MaxPool2dOptions& options) {
  const auto [y, indices] = ops::max_pool2d(x, options);
  return {y, indices, ops::max_pool2d_values(x, options), ops::max_pool2d_gather(x, indices),
          ops::max_pool2d_backward(gradient_of(y), indices, x.shape(), options)};
}

Tensors avg_pool_passes(const Tensor& x, const AvgPool2dOptions& options) {
  const Tensor y = ops::avg_pool2d(x, options);
  return {y, ops::avg_pool2d_backward(gradient_of(y), x.shape(), options)};
}

Tensors adaptive_pool_passes(const Tensor& x, IntPair size) {
  const Tensor y = ops::adaptive_avg_pool2d(x, size);
  return {y, ops::adaptive_avg_pool2d_backward(gradient_of(y), x.shape())};
}

Tensors cross_entropy_passes(const Tensor& x, const CrossEntropyOptions& options) {
  const Tensor target = ops::argmax(x, 1);
  const auto out = ops::cross_entropy(x, target, options);
  return {out.loss, ops::cross_entropy_backward(gradient_of(out.loss), x, target, out.log_sum_exp,
                                                out.total_weight, options)};
}

const std::vector<HalfCase> kCases = {
    {"max_pool2d",
     [](auto& x, auto&) { return max_pool_passes(x, {.kernel = 3, .stride = 2, .padding = 1}); }},
    {"max_pool2d, dilation", [](auto& x, auto&) { return max_pool_passes(x, {.kernel = 2, .dilation = 2}); }},
    {"avg_pool2d", [](auto& x, auto&) { return avg_pool_passes(x, {.kernel = 2}); }},
    {"avg_pool2d, overlap",
     [](auto& x, auto&) { return avg_pool_passes(x, {.kernel = 3, .stride = 1, .padding = 1}); }},
    {"global average", [](auto& x, auto&) { return adaptive_pool_passes(x, 1); }},
    {"adaptive average",
     [](auto& x, auto&) {
       return adaptive_pool_passes(x, {3, 2});
     }},
    {"add",
     [](auto& x, auto& y) {
       return Tensors{ops::add(x, y), ops::add(x, y, 0.3)};
     }},
    {"relu",
     [](auto& x, auto& y) {
       return Tensors{ops::relu(x), ops::relu_backward(y, x)};
     }},
    {"gelu",
     [](auto& x, auto& y) {
       return Tensors{ops::gelu(x), ops::gelu_backward(y, x)};
     }},
    {"sums",
     [](auto& x, auto&) {
       return Tensors{ops::sum(x), ops::sum(x, {0, 2, 3}), ops::mean(x, {2, 3})};
     }},
    {"extremes",
     [](auto& x, auto&) {
       return Tensors{ops::amax(x), ops::amin(x, {0, 2, 3})};
     }},
    {"softmax of columns",
     [](auto& x, auto&) {
       return Tensors{ops::softmax(x, 1), ops::log_softmax(x, 2)};
     }},
    {"softmax of rows",
     [](auto& x, auto&) {
       return Tensors{ops::softmax(x, 3), ops::log_softmax(x, 3)};
     }},
    {"cross_entropy", [](auto& x, auto&) { return cross_entropy_passes(x, {.label_smoothing = 0.1}); }},
    {"cross_entropy of each position",
     [](auto& x, auto&) { return cross_entropy_passes(x, {.reduction = Reduction::kNone}); }},
};

/// Returns the bits of a tensor's elements, with one NaN for all.
std::vector<uint32_t> bits_of(const Tensor& x) {
  std::vector<uint32_t> bits;
  for (const float value : ops::to_vector<float>(x))
    bits.push_back(std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value));
  return bits;
}

void check_equal(const Tensors& actual, const Tensors& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO("result " << i);
    CHECK(actual[i].shape() == expected[i].shape());
    CHECK((bits_of(actual[i]) == bits_of(ops::cast(expected[i], actual[i].dtype()))));
  }
}

void check_rounded(const Tensors& actual, const Tensors& expected) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO("result " << i);
    CHECK(actual[i].shape() == expected[i].shape());
    check_close(actual[i], expected[i], tolerance(actual[i].dtype()));
  }
}

}  // namespace

TEST_CASE("ops on half types compute in f32 and round once") {
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  const MemoryFormat format = GENERATE(kChannelsLast, kContiguous);
  for (const int64_t channels : {1, 7, 16, 37, 300}) {
    const Shape shape = {3, channels, 9, 6};
    const Tensor x = ops::contiguous(random_tensor(shape, dtype, 1, 3), format);
    const Tensor y = ops::contiguous(random_tensor(shape, dtype, 2), format);
    const Tensor wide_x = ops::cast(x, kFloat32), wide_y = ops::cast(y, kFloat32);
    for (const HalfCase& test : kCases) {
      INFO(test.name << ", " << name(dtype) << ", " << channels << " channels");
      check_equal(test.run(x, y), test.run(wide_x, wide_y));
    }
  }
}

TEST_CASE("batch norm of half types is that of f32, rounded") {
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  const bool relu = GENERATE(false, true), with_residual = GENERATE(false, true);
  // The last is stored past the caches.
  for (const Shape& shape : {Shape{3, 1, 9, 6}, Shape{3, 7, 9, 6}, Shape{5, 37}, Shape{2, 64, 3, 5},
                             Shape{3, 300, 9, 6}, Shape{2, 64, 200, 200}}) {
    INFO(shape.str() << ", " << name(dtype));
    const Tensor x = random_tensor(shape, dtype, 1, 3), y = random_tensor(shape, dtype, 2);
    check_rounded(batch_norm_passes(x, y, relu, with_residual),
                  batch_norm_passes(ops::cast(x, kFloat32), ops::cast(y, kFloat32), relu, with_residual));
  }
}

TEST_CASE("normalize_images writes half types") {
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  const Tensor pixels = ops::randint(0, 256, {2, 11, 13, 3}, {.dtype = kUInt8});
  const auto normalized = [&](DType to) {
    return ops::normalize_images(pixels, {.mean = {.4f, .5f, .6f}, .std = {.2f, .3f, .1f}, .dtype = to});
  };
  CHECK(bits_of(normalized(dtype)) == bits_of(ops::cast(normalized(kFloat32), dtype)));
}

TEMPLATE_TEST_CASE("casts of half types are exact, or rounded to nearest even", "", Half, BFloat16) {
  const int64_t begin = GENERATE(0, 1, 5);  // vectors at any address, and a rest after them
  const auto cast = [&](const Tensor& x, DType to) {
    return ops::cast(views::narrow(x, 0, begin, x.numel() - begin), to);
  };
  std::vector<TestType> every(0x10000);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) every[bits].bits = uint16_t(bits);
  const Tensor widened = cast(from_vector(every), kFloat32);
  for (int64_t i = 0; i < widened.numel(); ++i) {
    const float expected(every[size_t(begin + i)]), actual = widened.data<float>()[i];
    if (std::isnan(expected)) REQUIRE(std::isnan(actual));
    if (!std::isnan(expected)) REQUIRE(std::bit_cast<uint32_t>(actual) == std::bit_cast<uint32_t>(expected));
  }

  std::vector<float> values;
  for (uint64_t bits = 0; bits < uint64_t(1) << 32; bits += 4093)
    values.push_back(std::bit_cast<float>(uint32_t(bits)));
  for (size_t i = 0; i + 1 < every.size(); ++i) {  // midpoints of neighbours, and what lies beside them
    const float low = every[i], high = every[i + 1], middle = low / 2 + high / 2;
    for (const float value : {middle, std::nextafter(middle, low), std::nextafter(middle, high)})
      values.push_back(value);
  }
  const Tensor narrowed = cast(from_vector(values), dtype_of<TestType>);
  for (int64_t i = 0; i < narrowed.numel(); ++i)
    REQUIRE(narrowed.data<TestType>()[i].bits == TestType(values[size_t(begin + i)]).bits);
}
