// Matrix products: against a plain loop in f64, over batches, broadcasting, views and dtypes.

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "taper/autograd/derivatives/matmul.h"
#include "taper/autograd/gradcheck.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/matmul/matmul.h"
#include "taper/ops/vendor/engine_library.h"
#include "tests/support/child_process.h"
#include "tests/support/gpu_derivatives.h"
#include "tests/support/oracle_cases.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

struct MatmulCase {
  std::string name;
  Shape a, b, result;
};

const std::vector<MatmulCase> kCases = {
    {"square", {3, 3}, {3, 3}, {3, 3}},
    {"rectangles", {5, 7}, {7, 2}, {5, 2}},
    {"larger than a block", {131, 70}, {70, 257}, {131, 257}},
    {"row times column", {9}, {9}, {}},
    {"row times matrix", {4}, {4, 6}, {6}},
    {"matrix times column", {6, 4}, {4}, {6}},
    {"batch", {5, 2, 3}, {5, 3, 4}, {5, 2, 4}},
    {"batch times matrix", {5, 2, 3}, {3, 4}, {5, 2, 4}},
    {"matrix times batch", {2, 3}, {5, 3, 4}, {5, 2, 4}},
    {"batch times column", {2, 5, 2, 3}, {3}, {2, 5, 2}},
    {"row times batch", {3}, {5, 3, 4}, {5, 4}},
    {"broadcast batches", {2, 1, 3, 4}, {5, 4, 2}, {2, 5, 3, 2}},
    {"no inner size", {3, 0}, {0, 2}, {3, 2}},
    {"no rows", {0, 3}, {3, 2}, {0, 2}},
    {"no columns", {3, 2}, {2, 0}, {3, 0}},
    {"empty batch", {0, 2, 3}, {3, 4}, {0, 2, 4}},
    {"one by one", {1, 1}, {1, 1}, {1, 1}},
    {"outer product", {17, 1}, {1, 19}, {17, 19}},
    {"long sums", {3, 5000}, {5000, 4}, {3, 4}},
    {"batch of long sums", {2, 3, 2500}, {2, 2500, 5}, {2, 3, 5}},
    {"many tiles", {516, 20}, {20, 520}, {516, 520}},
    {"three batch axes", {2, 1, 3, 4, 5}, {3, 1, 5, 2}, {2, 3, 3, 4, 2}},
    {"four batch axes", {2, 1, 2, 1, 3, 4}, {3, 1, 2, 4, 2}, {2, 3, 2, 2, 3, 2}},
};

/// By the definition, on operands that are expanded to at least two dimensions and one batch shape.
Tensor by_definition(const Tensor& left, const Tensor& right, const Shape& result) {
  Tensor a = left.dim() == 1 ? views::unsqueeze(left, 0) : left;
  Tensor b = right.dim() == 1 ? views::unsqueeze(right, 1) : right;
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  Shape batch = broadcast_shapes(Shape(std::span(a.shape().begin(), size_t(a.dim() - 2))),
                                 Shape(std::span(b.shape().begin(), size_t(b.dim() - 2))), "test");
  const int64_t count = numel(batch);
  batch.push_back(m);
  batch.push_back(k);
  const auto x = ops::to_vector<double>(views::expand(a, batch));
  batch[batch.size() - 2] = k;
  batch[batch.size() - 1] = n;
  const auto y = ops::to_vector<double>(views::expand(b, batch));
  std::vector<double> sums(size_t(count * m * n));
  for (int64_t i = 0; i < count * m * n; ++i) {
    const int64_t matrix = i / (m * n), row = i / n % m, col = i % n;
    for (int64_t j = 0; j < k; ++j)
      sums[size_t(i)] += x[size_t((matrix * m + row) * k + j)] * y[size_t((matrix * k + j) * n + col)];
  }
  return from_vector(sums, result);
}

}  // namespace

TEST_CASE("matmul agrees with the definition") {
  const PoisonedMemory poisoned;
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  for (const MatmulCase& test : kCases) {
    INFO(test.name << ", " << name(dtype) << " on " << device.str());
    const Tensor a = random_tensor(test.a, dtype, 1), b = random_tensor(test.b, dtype, 2);
    const Tensor c = ops::matmul(a.to(device), b.to(device));
    CHECK(c.device() == device);
    CHECK(c.dtype() == dtype);
    const Tensor expected = by_definition(a, b, test.result);
    check_close(c, expected, tolerance(dtype, a.size(-1)));
    const Tensor wide = ops::matmul(a.to(device), b.to(device), compute_dtype(dtype));
    CHECK(wide.dtype() == compute_dtype(dtype));
    check_close(wide, expected, tolerance(compute_dtype(dtype), a.size(-1)));
    const bool library = ops::engine_library(ops::VendorLibrary::kCublaslt) != nullptr;
    check_close(ops::cast(wide, dtype), c, library ? tolerance(dtype) : 0);
  }
}

TEST_CASE("matmul reads views of any strides") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const auto random = [&](const Shape& shape, uint64_t seed = 1) {
    return random_tensor(shape, dtype, seed).to(device);
  };
  const Tensor a = random({6, 8, 10}), b = random({6, 10, 12}, 2);
  const auto check = [&](const Tensor& x, const Tensor& y) {
    Shape result = broadcast_shapes({x.size(0)}, {y.size(0)}, "test");
    result.push_back(x.size(1));
    result.push_back(y.size(2));
    check_close(ops::matmul(x, y), by_definition(x, y, result), tolerance(dtype, x.size(2)));
  };
  check(views::transpose(views::transpose(a, 1, 2), 1, 2), b);
  check(views::transpose(random({6, 10, 8}), 1, 2), b);
  check(a, views::transpose(random({6, 12, 10}), 1, 2));
  check(views::slice(a, 2, 0, 10, 2), views::slice(b, 1, 0, 10, 2));
  check(views::slice(a, 1, 1, 7, 3), views::slice(b, 2, 0, 12, 5));
  check(views::permute(random({10, 6, 8}), {1, 2, 0}), views::permute(random({12, 10, 6}), {2, 1, 0}));
  check(views::expand(random({1, 1, 10}), {6, 8, 10}), views::expand(random({1, 10, 1}), {6, 10, 3}));
  check(views::slice(a, 2, 3, 4), views::slice(b, 1, 2, 3));
  check(views::slice(random({6, 16, 24}), 2, 8, 24), views::slice(random({6, 16, 32}), 2, 8, 32));
}

TEST_CASE("a batch of more matrices than a grid has along one axis") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor a = random_tensor({66000, 1, 2}, kFloat32), b = random_tensor({66000, 2, 1}, kFloat32, 2);
  check_close(ops::matmul(a.to(device), b.to(device)), by_definition(a, b, {66000, 1, 1}),
              tolerance(kFloat32, 2));
}

TEST_CASE("bmm and linear") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const auto random = [&](const Shape& shape, uint64_t seed = 1) {
    return random_tensor(shape, dtype, seed).to(device);
  };
  const Tensor a = random({4, 3, 5}), b = random({4, 5, 2}, 2);
  check_close(ops::bmm(a, b), by_definition(a, b, {4, 3, 2}), tolerance(dtype, 5));

  const Tensor weight = random({7, 5}, 3), bias = random({7}, 4);
  const Tensor product = by_definition(a, views::transpose(weight, 0, 1), {4, 3, 7});
  check_close(ops::linear(a, weight), product, tolerance(dtype, 5));
  std::vector<double> sums = ops::to_vector<double>(product), biases = ops::to_vector<double>(bias);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += biases[i % 7];
  check_close(ops::linear(a, weight, bias), from_vector(sums, {4, 3, 7}), tolerance(dtype, 5));
  const Tensor y = ops::linear(a, weight, bias);
  check_close(ops::linear_fused(a, weight, bias, Activation::kRelu), ops::relu(y), tolerance(dtype, 1));
  const bool by_library =
      device.is_cuda() && dtype != kFloat64 && ops::engine_library(ops::VendorLibrary::kCublaslt) != nullptr;
  check_close(ops::linear_fused(a, weight, bias, Activation::kGeluTanh), ops::gelu_tanh(y),
              tolerance(dtype, 1) + (by_library ? ops::kBlasGeluEpsilon : 0));
  CHECK(ops::linear(a, weight).dtype() == dtype);
  CHECK(ops::linear(random({5}), weight, bias).shape() == Shape{7});
  CHECK(ops::linear(random({0, 5}), weight, bias).shape() == Shape{0, 7});
  check_close(ops::linear(random({2, 0}), random({7, 0}), bias), views::expand(bias, {2, 7}), 0);
}

TEST_CASE("a product with the identity is the operand") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const Tensor a = random_tensor({67, 129}, dtype).to(device);
  std::vector<float> ones(129 * 129);
  for (size_t i = 0; i < 129; ++i) ones[i * 130] = 1;
  check_close(ops::matmul(a, ops::cast(from_vector(ones, {129, 129}), dtype).to(device)), a, 0);
}

TEST_CASE("matmul is the same bits for any number of threads") {
  const int threads = num_threads();
  const Tensor a = random_tensor({300, 500}, kFloat32), b = random_tensor({500, 400}, kFloat32, 2);
  const Tensor many_a = random_tensor({50, 9, 70}, kFloat32),
               many_b = random_tensor({50, 70, 80}, kFloat32, 2);
  std::vector<std::vector<float>> first;
  for (const int count : {1, 2, 3}) {
    set_num_threads(count);
    const std::vector<std::vector<float>> results = {ops::to_vector<float>(ops::matmul(a, b)),
                                                     ops::to_vector<float>(ops::matmul(many_a, many_b))};
    if (first.empty()) first = results;
    CHECK(results == first);
  }
  set_num_threads(threads);
}

TEST_CASE("fork() while another thread computes: the child computes, too") {
  if (!test::kChildrenStartThreads) return;
  const ThreadsGuard guard(2);
  const Tensor a = random_tensor({100, 200}, kFloat32), b = random_tensor({200, 150}, kFloat32, 2);
  const std::vector<float> expected = ops::to_vector<float>(ops::matmul(a, b));
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (int64_t i = 0; !stop; ++i)  // mostly problems that are new
      ops::matmul(random_tensor({1 + i % 2000, 7}, kFloat32), views::slice(b, 0, 0, 7));
  });
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    const test::ChildResult child = test::run_in_child([&] {
      TAPER_CHECK(ops::to_vector<float>(ops::matmul(a, b)) == expected, "other bits");
      ops::matmul(random_tensor({9, 8}), random_tensor({8, 10 + i}));  // a problem that is new to the child
    });
    good += child.signal == 0 && child.exit_code == 0;
  }
  stop = true;
  other.join();
  CHECK(good == 20);
}

TEST_CASE("matrix products refuse what does not fit") {
  const Tensor a = random_tensor({2, 3}), b = random_tensor({4, 5});
  CHECK_THROWS_WITH(ops::matmul(a, a, kFloat16), Catch::Contains("matmul: the result can be f64, not f16"));
  CHECK_THROWS_WITH(ops::matmul(a, b),
                    "matmul: [2, 3] x [4, 5] does not fit: the first has 3 columns, the second 4 rows");
  CHECK_THROWS_WITH(ops::matmul(a, random_tensor({})), Catch::Contains("at least one dimension"));
  CHECK_THROWS_WITH(ops::matmul(random_tensor({2, 2, 3}), random_tensor({3, 3, 5})),
                    Catch::Contains("matmul"));
  CHECK_THROWS_WITH(ops::matmul(a, random_tensor({3, 2}, kFloat32)),
                    Catch::Contains("one dtype, got f64 and f32"));
  CHECK_THROWS_WITH(ops::matmul(ops::cast(a, kInt64), ops::cast(b, kInt64)), Catch::Contains("matmul"));
  CHECK_THROWS_WITH(ops::matmul(Tensor(), b), Catch::Contains("undefined"));
  CHECK_THROWS_WITH(ops::bmm(a, b), Catch::Contains("bmm: needs [B, M, K] and [B, K, N]"));
  CHECK_THROWS_WITH(ops::linear(a, b), "linear: weight [4, 5] takes 5 features but the input is [2, 3]");
  CHECK_THROWS_WITH(ops::linear(a, random_tensor({3})), Catch::Contains("weight must be [out, in]"));
  CHECK_THROWS_WITH(ops::linear(a, random_tensor({4, 3}), random_tensor({3})),
                    "linear: bias must be [4], got [3]");
}

TEST_CASE("the derivatives of matrix products agree with finite differences") {
  const auto leaf = [](const Shape& shape, uint64_t seed) {
    return random_tensor(shape, kFloat64, seed).set_requires_grad();
  };
  const auto product = [](const std::vector<Tensor>& in) { return matmul(in[0], in[1]); };
  for (const MatmulCase& test : kCases) {
    if (numel(test.a) + numel(test.b) > 100) continue;
    INFO(test.name);
    const std::vector<Tensor> inputs = {leaf(test.a, 1), leaf(test.b, 2)};
    CHECK(matmul(inputs[0], inputs[1]).shape() == test.result);
    CHECK(gradcheck(product, inputs));
    CHECK(gradgradcheck(product, inputs));
  }
  const auto batched = [](const std::vector<Tensor>& in) { return bmm(in[0], in[1]); };
  CHECK(gradcheck(batched, {leaf({3, 2, 4}, 1), leaf({3, 4, 3}, 2)}));
  CHECK(gradgradcheck(batched, {leaf({3, 2, 4}, 1), leaf({3, 4, 3}, 2)}));

  for (const Shape& input : {Shape{4, 3}, Shape{3}, Shape{2, 2, 3}, Shape{0, 3}}) {
    INFO("linear of " << input.str());
    const auto affine = [](const std::vector<Tensor>& in) { return linear(in[0], in[1], in[2]); };
    const std::vector<Tensor> inputs = {leaf(input, 1), leaf({5, 3}, 2), leaf({5}, 3)};
    CHECK(gradcheck(affine, inputs));
    CHECK(gradgradcheck(affine, inputs));
    CHECK(gradcheck([](const std::vector<Tensor>& in) { return linear(in[0], in[1]); },
                    {inputs[0], inputs[1]}));
    for (const Activation activation : {Activation::kRelu, Activation::kGeluTanh}) {
      INFO("and " << name(activation));
      const auto fused = [&](const std::vector<Tensor>& in) {
        return linear_fused(in[0], in[1], in[2], activation);
      };
      CHECK(gradcheck(fused, inputs));
      CHECK(gradgradcheck(fused, inputs));
    }
  }
}

TEST_CASE("the derivatives of matrix products on a GPU are the CPU's") {
  const auto random = [](const Shape& shape, uint64_t seed) { return random_tensor(shape, kFloat64, seed); };
  const auto product = [](const std::vector<Tensor>& in) { return matmul(in[0], in[1]); };
  for (const MatmulCase& test : kCases) {
    if (numel(test.a) + numel(test.b) > 1000) continue;
    INFO(test.name);
    const std::vector<Tensor> inputs = {random(test.a, 1), random(test.b, 2)};
    check_gpu_derivatives(product, inputs, numel(test.a) + numel(test.b) + numel(test.result));
  }
  check_gpu_derivatives([](const std::vector<Tensor>& in) { return bmm(in[0], in[1]); },
                        {random({3, 2, 4}, 1), random({3, 4, 3}, 2)}, 4);
  for (const Shape& input : {Shape{4, 3}, Shape{3}, Shape{2, 2, 3}, Shape{0, 3}}) {
    INFO("linear of " << input.str());
    check_gpu_derivatives([](const std::vector<Tensor>& in) { return linear(in[0], in[1], in[2]); },
                          {random(input, 1), random({5, 3}, 2), random({5}, 3)}, 5);
  }
}

TEST_CASE("differentiable matrix products refuse what does not fit") {
  CHECK_THROWS_WITH(matmul(random_tensor({3}), random_tensor({4})), Catch::Contains("matmul: "));
  CHECK_THROWS_WITH(matmul(random_tensor({}), random_tensor({4})), Catch::Contains("at least one dimension"));
  CHECK_THROWS_WITH(matmul(random_tensor({2, 2, 3}), random_tensor({4, 2})),
                    Catch::Contains("[2, 2, 3] x [4, 2]"));
  CHECK_THROWS_WITH(matmul(Tensor(), random_tensor({4})), Catch::Contains("undefined"));
}

TEST_CASE("matrix products agree with PyTorch", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& test : oracle_cases("matmul")) {
    const bool is_linear = test.op == "linear";
    std::vector<std::string> names =
        is_linear ? std::vector<std::string>{"x", "weight", "bias"} : std::vector<std::string>{"a", "b"};
    std::vector<Tensor> in;
    for (const std::string& input : names) {
      in.push_back(ops::to_device(test[input].detach(), device).set_requires_grad());
    }
    INFO(test.name << ", " << name(in[0].dtype()) << " " << in[0].shape().str() << " on " << device.str());
    const Tensor c = is_linear          ? linear(in[0], in[1], in[2])
                     : test.op == "bmm" ? bmm(in[0], in[1])
                                        : matmul(in[0], in[1]);
    c.backward(ops::to_device(oracle_gradient(c), device));
    check_close(c, test[is_linear ? "y" : "c"], tolerance(c.dtype(), in[0].size(-1)));
    for (size_t i = 0; i < in.size(); ++i) {
      check_close(in[i].grad(), test["grad_" + names[i]], tolerance(c.dtype(), c.numel()));
    }
  }
}
