// Pooling: against a plain loop in f64, adjointness, ties and NaN, PyTorch's numbers.

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "taper/autograd/derivatives/pool.h"
#include "taper/autograd/gradcheck.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/pool/pool2d.h"
#include "tests/support/gpu_derivatives.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

struct PoolCase {
  std::string name;
  Shape input;
  MaxPool2dOptions options;
  Shape result;
};

const std::vector<PoolCase> kCases = {
    {"2x2", {2, 3, 6, 4}, {.kernel = 2}, {2, 3, 3, 2}},
    {"3x3 stride 2", {2, 3, 7, 9}, {.kernel = 3, .stride = 2, .padding = 1}, {2, 3, 4, 5}},
    {"a rest is left out", {1, 2, 8, 5}, {.kernel = 3}, {1, 2, 2, 1}},
    {"ceil_mode", {1, 2, 8, 5}, {.kernel = 3, .ceil_mode = true}, {1, 2, 3, 2}},
    {"ceil_mode, last window in the padding",
     {1, 2, 5, 6},
     {.kernel = 2, .stride = 3, .padding = 1, .ceil_mode = true},
     {1, 2, 2, 3}},
    {"rectangles", {2, 1, 9, 8}, {.kernel = {4, 1}, .stride = {1, 3}, .padding = {2, 0}}, {2, 1, 10, 3}},
    {"whole image", {3, 5, 4, 3}, {.kernel = {4, 3}}, {3, 5, 1, 1}},
    {"overlap", {1, 300, 5, 5}, {.kernel = 3, .stride = 1}, {1, 300, 3, 3}},
    {"one pixel", {2, 2, 1, 1}, {.kernel = 1}, {2, 2, 1, 1}},
    {"ceil_mode, a window larger than the image",
     {2, 3, 1, 2},
     {.kernel = {2, 3}, .stride = 2, .ceil_mode = true},
     {2, 3, 1, 1}},
    {"ceil_mode, a larger window and padding",
     {1, 2, 2, 3},
     {.kernel = {3, 4}, .stride = {2, 3}, .padding = 1, .ceil_mode = true},
     {1, 2, 2, 2}},
    {"batch of none", {0, 2, 4, 4}, {.kernel = 2}, {0, 2, 2, 2}},
    {"no channels", {2, 0, 4, 4}, {.kernel = 2}, {2, 0, 2, 2}},
};

/// Calls visit(plane, output position, h, w) for every input element that a window sees.
template <class Visit>
void for_each_seen(const Shape& input, const Shape& output, MaxPool2dOptions o, Visit&& visit) {
  if (o.stride == IntPair(0)) o.stride = o.kernel;
  for (int64_t plane = 0; plane < input[0] * input[1]; ++plane) {
    for (int64_t p = 0; p < output[2]; ++p) {
      for (int64_t q = 0; q < output[3]; ++q) {
        for (int64_t r = 0; r < o.kernel.h; ++r) {
          for (int64_t s = 0; s < o.kernel.w; ++s) {
            const int64_t h = p * o.stride.h - o.padding.h + r * o.dilation.h;
            const int64_t w = q * o.stride.w - o.padding.w + s * o.dilation.w;
            if (h >= 0 && h < input[2] && w >= 0 && w < input[3])
              visit(plane, (plane * output[2] + p) * output[3] + q, h, w);
          }
        }
      }
    }
  }
}

AvgPool2dOptions average_options(const MaxPool2dOptions& o, bool count_include_pad) {
  return {.kernel = o.kernel,
          .stride = o.stride,
          .padding = o.padding,
          .ceil_mode = o.ceil_mode,
          .count_include_pad = count_include_pad};
}

}  // namespace

TEST_CASE("max_pool2d agrees with the definition") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const MemoryFormat format = GENERATE(kContiguous, kChannelsLast);
  std::vector<PoolCase> cases = kCases;
  cases.push_back(
      {"dilation", {2, 3, 9, 8}, {.kernel = 3, .stride = 2, .padding = 1, .dilation = {2, 1}}, {2, 3, 4, 4}});
  for (const PoolCase& test : cases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const Tensor x = ops::contiguous(ops::to_device(random_tensor(test.input, dtype), device), format);
    const auto [y, indices] = ops::max_pool2d(x, test.options);
    REQUIRE(y.shape() == test.result);
    const auto values = ops::to_vector<double>(x);
    std::vector<double> best(size_t(numel(test.result)), -std::numeric_limits<double>::infinity());
    std::vector<int64_t> place(best.size());
    for_each_seen(test.input, test.result, test.options,
                  [&](int64_t plane, int64_t out, int64_t h, int64_t w) {
                    const double value = values[size_t((plane * test.input[2] + h) * test.input[3] + w)];
                    if (value > best[size_t(out)])
                      best[size_t(out)] = value, place[size_t(out)] = h * test.input[3] + w;
                  });
    check_close(y, from_vector(best, test.result), 0);
    CHECK(ops::to_vector<int64_t>(indices) == place);
    check_close(ops::max_pool2d_gather(x, indices), y, 0);
    check_close(ops::max_pool2d_values(x, test.options), y, 0);
    CHECK(y.is_contiguous(kChannelsLast));

    const Tensor grad = ops::to_device(random_tensor(y.shape(), dtype, 2), device);
    const auto grads = ops::to_vector<double>(grad);
    std::vector<double> grad_x(values.size());
    for (size_t i = 0; i < grads.size(); ++i) {
      const int64_t plane = int64_t(i) / (test.result[2] * test.result[3]);
      grad_x[size_t(plane * test.input[2] * test.input[3] + place[i])] += grads[i];
    }
    check_close(ops::max_pool2d_backward(ops::contiguous(grad, format), indices, test.input, test.options),
                from_vector(grad_x, test.input), tolerance(dtype, 9));
  }
}

TEST_CASE("avg_pool2d agrees with the definition") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const bool count_include_pad = GENERATE(true, false);
  for (const PoolCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << (count_include_pad ? "" : ", without padding"));
    const AvgPool2dOptions options = average_options(test.options, count_include_pad);
    const Tensor x = ops::to_device(random_tensor(test.input, dtype), device);
    const Tensor y = ops::avg_pool2d(x, options);
    CHECK(y.is_contiguous(kChannelsLast));
    REQUIRE(y.shape() == test.result);
    const auto values = ops::to_vector<double>(x);
    std::vector<double> sum(size_t(numel(test.result))), seen(sum.size());
    for_each_seen(test.input, test.result, test.options,
                  [&](int64_t plane, int64_t out, int64_t h, int64_t w) {
                    sum[size_t(out)] += values[size_t((plane * test.input[2] + h) * test.input[3] + w)];
                    seen[size_t(out)] += 1;
                  });
    const IntPair stride = test.options.stride == IntPair(0) ? test.options.kernel : test.options.stride;
    for (size_t i = 0; i < sum.size(); ++i) {
      double divisor = seen[i];
      if (count_include_pad) {
        // The window up to the end of the padding, which ceil_mode may pass.
        const int64_t q = int64_t(i) % test.result[3], p = int64_t(i) / test.result[3] % test.result[2];
        const int64_t h = p * stride.h - test.options.padding.h, w = q * stride.w - test.options.padding.w;
        divisor = double(std::min(test.options.kernel.h, test.input[2] + test.options.padding.h - h) *
                         std::min(test.options.kernel.w, test.input[3] + test.options.padding.w - w));
      }
      sum[i] /= divisor;
    }
    check_close(y, from_vector(sum, test.result),
                tolerance(dtype, test.options.kernel.h * test.options.kernel.w));
  }
}

TEST_CASE("average pooling's gradients are its transposes") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const PoolCase& test : kCases) {
    for (const bool count_include_pad : {true, false}) {
      INFO(test.name);
      const AvgPool2dOptions options = average_options(test.options, count_include_pad);
      const Tensor x = ops::to_device(random_tensor(test.input), device), y = ops::avg_pool2d(x, options),
                   grad = ops::to_device(random_tensor(y.shape(), kFloat64, 2), device);
      CHECK(dot(ops::avg_pool2d_backward(grad, x.shape(), options), x) == Approx(dot(y, grad)).margin(1e-12));
    }
  }
  for (const IntPair size : {IntPair(1), IntPair(2), IntPair(5, 3), IntPair(7, 6)}) {
    const Tensor x = ops::to_device(random_tensor({2, 3, 7, 6}), device),
                 y = ops::adaptive_avg_pool2d(x, size);
    const Tensor grad = ops::to_device(random_tensor(y.shape(), kFloat64, 2), device);
    REQUIRE(y.shape() == Shape{2, 3, size.h, size.w});
    CHECK(dot(ops::adaptive_avg_pool2d_backward(grad, x.shape()), x) == Approx(dot(y, grad)).margin(1e-12));
  }
}

TEST_CASE("adaptive_avg_pool2d: the global mean, the identity, and uneven windows") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const Tensor x = ops::to_device(random_tensor({2, 3, 5, 4}, dtype), device);
  const auto values = ops::to_vector<double>(x);
  std::vector<double> means(6);
  for (size_t i = 0; i < values.size(); ++i) means[i / 20] += values[i] / 20;
  check_close(ops::adaptive_avg_pool2d(x, 1), from_vector(means, {2, 3, 1, 1}), tolerance(dtype, 20));
  check_close(ops::adaptive_avg_pool2d(x, {5, 4}), x, 0);
  // 5 rows in 2 windows: rows 0..2 and 2..4.
  const Tensor line = ops::to_device(from_vector(std::vector<double>{1, 2, 3, 4, 5}, {1, 1, 5, 1}), device);
  check_close(ops::adaptive_avg_pool2d(line, {2, 1}), from_vector(std::vector<double>{2, 4}, {1, 1, 2, 1}),
              0);
  check_close(ops::adaptive_avg_pool2d(line, {7, 1}),
              from_vector(std::vector<double>{1, 1.5, 2.5, 3, 3.5, 4.5, 5}, {1, 1, 7, 1}), 0);
}

TEST_CASE("the first of equal maxima wins, and NaN wins over numbers") {
  const Device device = GENERATE(from_range(test_devices()));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x =
      ops::to_device(from_vector(std::vector<double>{1, 1, nan, 2, 0, -1, 5, 5}, {1, 1, 2, 4}), device);
  const auto [y, indices] = ops::max_pool2d(x, {.kernel = 2});
  CHECK(ops::to_vector<int64_t>(indices) == std::vector<int64_t>{0, 2});
  CHECK(ops::to_vector<double>(y)[0] == 1);
  CHECK(std::isnan(ops::to_vector<double>(y)[1]));
  CHECK(std::isnan(ops::to_vector<double>(ops::max_pool2d_values(x, {.kernel = 2}))[1]));
}

TEST_CASE("pooling is the same bits for any number of threads") {
  const int threads = num_threads();
  const Tensor x = random_tensor({5, 33, 17, 16}, kFloat32);
  const MaxPool2dOptions options = {.kernel = 3, .stride = 2, .padding = 1};
  std::vector<std::vector<float>> first;
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    const auto [y, indices] = ops::max_pool2d(x, options);
    const std::vector<std::vector<float>> results = {
        ops::to_vector<float>(y),
        ops::to_vector<float>(ops::max_pool2d_backward(y, indices, x.shape(), options)),
        ops::to_vector<float>(ops::avg_pool2d(x, average_options(options, true))),
        ops::to_vector<float>(ops::adaptive_avg_pool2d_backward(y, x.shape()))};
    if (first.empty()) first = results;
    CHECK(results == first);
  }
  set_num_threads(threads);
}

TEST_CASE("pooling refuses what does not fit") {
  const Tensor x = random_tensor({2, 3, 4, 4});
  CHECK_THROWS_WITH(ops::max_pool2d(x, {}), "max_pool2d: kernel must be at least 1, got 0x0");
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = 5}), Catch::Contains("max_pool2d: a window of 5 pixels"));
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = 2, .padding = 2}), Catch::Contains("half the kernel"));
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = 2, .dilation = 0}),
                    Catch::Contains("dilation must be at least 1"));
  CHECK_THROWS_WITH(ops::max_pool2d(random_tensor({3, 4, 4}), {.kernel = 2}),
                    Catch::Contains("[N, C, H, W], got [3, 4, 4]"));
  CHECK_THROWS_WITH(ops::avg_pool2d(x, {.kernel = {2, 0}}), Catch::Contains("avg_pool2d: kernel"));
  CHECK_THROWS_WITH(ops::adaptive_avg_pool2d(x, 0), Catch::Contains("output size must be at least 1"));
  CHECK_THROWS_WITH(ops::adaptive_avg_pool2d(random_tensor({2, 3, 0, 4}), 1),
                    Catch::Contains("has no pixels"));
  CHECK_THROWS_WITH(ops::avg_pool2d_backward(x, {2, 3, 12, 12}, {.kernel = 2}),
                    Catch::Contains("grad must be [2, 3, 6, 6], got [2, 3, 4, 4]"));
  const Tensor indices = from_vector(std::vector<int64_t>{3, 16}, {1, 1, 1, 2});
  const Tensor grad = random_tensor({1, 1, 1, 2});
  const MaxPool2dOptions halves = {.kernel = {4, 2}};
  CHECK_THROWS_WITH(ops::max_pool2d_backward(grad, indices, {1, 1, 4, 4}, halves),
                    Catch::Contains("indices reach from 3 to 16 but an image has 16 pixels"));
  CHECK_THROWS_WITH(ops::max_pool2d_backward(grad, ops::cast(indices, kInt32), {1, 1, 4, 4}, halves),
                    Catch::Contains("must be i64"));
  CHECK_THROWS_WITH(ops::max_pool2d_backward(grad, indices, {1, 2, 4, 4}, halves),
                    Catch::Contains("input shape must be [1, 1, H, W]"));
  CHECK_THROWS_WITH(ops::max_pool2d_backward(grad, indices, {1, 1, 4, 4}, {.kernel = 2}),
                    Catch::Contains("grad must be [1, 1, 2, 2], got [1, 1, 1, 2]"));
  CHECK_THROWS_WITH(ops::max_pool2d(x, {.kernel = {2, 1}, .stride = int64_t(1) << 31}),
                    Catch::Contains("pixels are too large for a window"));
}

TEST_CASE("ceil_mode's windows divide as PyTorch's where they reach beyond the padding") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto mean = [&](const Shape& shape, const AvgPool2dOptions& options) {
    return ops::to_vector<float>(ops::avg_pool2d(ops::full(shape, 1, {.device = device}), options));
  };
  // torch.nn.functional.avg_pool2d(torch.ones(shape), ..., ceil_mode=True)
  CHECK(mean({1, 1, 2, 2}, {.kernel = 3, .stride = 2, .ceil_mode = true}) == std::vector<float>{1});
  CHECK(mean({1, 1, 2, 3}, {.kernel = {3, 4}, .stride = {2, 3}, .padding = 1, .ceil_mode = true}) ==
        std::vector<float>{0.5f, 1 / 3.f, 0.375f, 0.25f});
  // Less than a stride beyond the padding, or there is no window.
  const Tensor pixel = ops::full({1, 1, 1, 1}, 1, {.device = device});
  CHECK_THROWS_WITH(ops::max_pool2d(pixel, {.kernel = 3, .stride = 2, .ceil_mode = true}),
                    Catch::Contains("does not fit an input of 1"));
  CHECK_THROWS_WITH(ops::max_pool2d(pixel, {.kernel = 2, .stride = 2}), Catch::Contains("does not fit"));
}

TEST_CASE("windows that see nothing but padding are refused in forward") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor pixel = ops::full({1, 1, 1, 1}, 5, {.device = device});
  const MaxPool2dOptions over_it = {.kernel = 2, .stride = 1, .padding = 1, .dilation = 2};
  const std::string message = "sees nothing but padding of an input of 1";
  CHECK_THROWS_WITH(ops::max_pool2d(pixel, over_it), Catch::Contains(message));
  CHECK_THROWS_WITH(ops::max_pool2d_values(pixel, over_it), Catch::Contains(message));
  CHECK_THROWS_WITH(ops::max_pool2d_backward(pixel, pixel, {1, 1, 1, 1}, over_it), Catch::Contains(message));
  // With three taps the middle one lies on the pixel, and it gets the gradient.
  const Tensor leaf = ops::full({1, 1, 1, 1}, 5, {.device = device}).set_requires_grad();
  const Tensor y = max_pool2d(leaf, {.kernel = 3, .stride = 1, .padding = 1, .dilation = 1});
  y.sum().backward();
  CHECK((y.item() == 5 && leaf.grad().item() == 1));
  CHECK_THROWS_WITH(ops::max_pool2d(ops::zeros({1, 1, 0, 4}), {.kernel = 2, .padding = 1}),
                    Catch::Contains("does not fit an input of 0"));
  CHECK_THROWS_WITH(ops::avg_pool2d(ops::zeros({1, 1, 4, 0}), {.kernel = 2, .padding = 1}),
                    Catch::Contains("does not fit an input of 0"));
}

TEST_CASE("an index outside the image ends the kernel that meets it") {
  if (!gpu::is_simulated()) return;  // hardware's kernel would take the process's GPU with it
  const Device device("cuda");
  const Tensor indices = ops::to_device(from_vector(std::vector<int64_t>{3, 16}, {1, 1, 1, 2}), device);
  const Tensor grad = ops::to_device(random_tensor({1, 1, 1, 2}), device);
  const Tensor grad_x = ops::max_pool2d_backward(grad, indices, {1, 1, 4, 4}, {.kernel = {4, 2}});
  CHECK_THROWS_WITH(gpu::synchronize(),
                    Catch::Contains("max_pool2d_backward: an index lies outside the image"));
  const Tensor picked = ops::max_pool2d_gather(grad_x, indices);
  CHECK_THROWS_WITH(gpu::synchronize(),
                    Catch::Contains("max_pool2d_gather: an index lies outside the image"));
}

TEST_CASE("pooling on the GPU: windows shared by a block, packs of every dtype, a view that is not aligned") {
  const Device device("cuda");
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  for (const Shape& shape : {Shape{2, 16, 9, 7}, Shape{1, 264, 6, 7}, Shape{3, 5, 6, 6}}) {
    INFO(shape.str() << " " << name(dtype));
    const Tensor x = random_tensor(shape, dtype), x_gpu = ops::to_device(x, device);
    for (const IntPair size : {IntPair(1), IntPair(1, 3), IntPair(4, 2)}) {
      const Tensor y = ops::adaptive_avg_pool2d(x, size);
      check_close(ops::adaptive_avg_pool2d(x_gpu, size), y, tolerance(dtype, 63));
      check_close(ops::adaptive_avg_pool2d_backward(ops::to_device(y, device), shape),
                  ops::adaptive_avg_pool2d_backward(y, shape), tolerance(dtype, 4));
    }
    const MaxPool2dOptions options = {.kernel = 3, .stride = 2, .padding = 1};
    const auto [y, indices] = ops::max_pool2d(x, options);
    const auto [y_gpu, indices_gpu] = ops::max_pool2d(x_gpu, options);
    check_close(y_gpu, y, 0);
    CHECK(ops::to_vector<int64_t>(indices_gpu) == ops::to_vector<int64_t>(indices));
    check_close(ops::max_pool2d_backward(y_gpu, indices_gpu, shape, options),
                ops::max_pool2d_backward(y, indices, shape, options), 0);
  }
  // The image begins one element into its memory, at no multiple of 16 bytes.
  const Tensor memory = random_tensor({1 + 16 * 6 * 6}, dtype), memory_gpu = ops::to_device(memory, device);
  const auto image = [](const Tensor& from) {
    return views::as_strided(from, {1, 16, 6, 6}, {16 * 36, 1, 16 * 6, 16}, 1);
  };
  check_close(ops::max_pool2d(image(memory_gpu), {.kernel = 2}).y,
              ops::max_pool2d(image(memory), {.kernel = 2}).y, 0);
}

TEST_CASE("the derivatives of pooling on a GPU are the CPU's") {
  for (const PoolCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 1000) continue;
    INFO(test.name);
    const std::vector<Tensor> x = {random_tensor(test.input)};
    const AvgPool2dOptions options = average_options(test.options, false);
    const int64_t terms = numel(test.input);
    check_gpu_derivatives([&](const auto& in) { return max_pool2d(in[0], test.options); }, x, terms);
    check_gpu_derivatives([&](const auto& in) { return avg_pool2d(in[0], options); }, x, terms);
    check_gpu_derivatives([&](const auto& in) { return adaptive_avg_pool2d(in[0], {2, 1}); }, x, terms);
  }
}

TEST_CASE("the derivatives of pooling agree with finite differences") {
  for (const PoolCase& test : kCases) {
    if (numel(test.input) == 0 || numel(test.input) > 300) continue;
    INFO(test.name);
    const Tensor x = random_tensor(test.input).set_requires_grad();
    const auto maximum = [&](const std::vector<Tensor>& in) { return max_pool2d(in[0], test.options); };
    CHECK(gradcheck(maximum, {x}));
    CHECK(gradgradcheck(maximum, {x}));
    for (const bool count_include_pad : {true, false}) {
      const AvgPool2dOptions options = average_options(test.options, count_include_pad);
      const auto average = [&](const std::vector<Tensor>& in) { return avg_pool2d(in[0], options); };
      CHECK(gradcheck(average, {x}));
      CHECK(gradgradcheck(average, {x}));
    }
    const auto adaptive = [](const std::vector<Tensor>& in) { return adaptive_avg_pool2d(in[0], {2, 1}); };
    CHECK(gradcheck(adaptive, {x}));
    CHECK(gradgradcheck(adaptive, {x}));
    const Tensor indices = ops::max_pool2d(x, test.options).indices;
    const auto gather = [&](const std::vector<Tensor>& in) {
      return max_pool2d_gather(in[0], indices, test.options);
    };
    CHECK(gradgradcheck(gather, {x}));
  }
}

TEST_CASE("pooling agrees with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto pair = [](const std::vector<int64_t>& values) { return IntPair(values.at(0), values.at(1)); };
  for (const OracleCase& test : oracle_cases("pool")) {
    Tensor x = ops::to_device(test["x"].detach(), device);
    x.set_requires_grad();
    INFO(test.name << ", " << name(x.dtype()) << " on " << device.str());
    Tensor y;
    if (test.op == "adaptive_avg_pool2d") {
      y = adaptive_avg_pool2d(x, pair(test.list("size")));
    } else if (test.op == "max_pool2d") {
      const auto [maxima, indices] = max_pool2d_with_indices(x, {.kernel = pair(test.list("kernel")),
                                                                 .stride = pair(test.list("stride")),
                                                                 .padding = pair(test.list("padding")),
                                                                 .dilation = pair(test.list("dilation")),
                                                                 .ceil_mode = test.flag("ceil_mode")});
      y = maxima;
      CHECK(ops::to_vector<int64_t>(indices) == ops::to_vector<int64_t>(test["indices"]));
    } else {
      y = avg_pool2d(x, {.kernel = pair(test.list("kernel")),
                         .stride = pair(test.list("stride")),
                         .padding = pair(test.list("padding")),
                         .ceil_mode = test.flag("ceil_mode"),
                         .count_include_pad = test.flag("count_include_pad")});
    }
    y.backward(ops::to_device(oracle_gradient(y), device));
    check_close(y, test["y"], tolerance(x.dtype(), 16));
    check_close(x.grad(), test["grad_x"], tolerance(x.dtype(), 16));
  }
}
