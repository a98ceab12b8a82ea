// Indexing, joining and splitting, and their derivatives.

#include "taper/autograd/derivatives/index.h"

#include "gpu_derivatives.h"
#include "oracle_cases.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/index/join.h"
#include "taper/ops/reduce/reduce.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;

namespace {

using Catch::Contains;
using Tensors = std::vector<Tensor>;

/// 0, 3, 6, ... modulo limit.
Tensor indices(const Shape& shape, int64_t limit) {
  const Tensor index = empty(shape, {.dtype = kInt64});
  for (int64_t i = 0; i < index.numel(); ++i) index.data<int64_t>()[i] = i * 3 % limit;
  return index;
}

void check_joined(const OracleCase& c, Device device) {
  Tensors parts;
  for (const Tensor& x : c.numbered("x")) parts.push_back(ops::clone(x).to(device).set_requires_grad());
  const int64_t axis = int64_t(c.number("axis"));
  const Tensor y = c.op == "cat" ? cat(parts, axis) : stack(parts, axis);
  check_close(y, c["y"], 0);
  const Tensors grads = grad({y}, parts, {oracle_gradient(y).to(device)});
  const Tensors expected = c.numbered("grad");
  REQUIRE(expected.size() == parts.size());
  for (size_t i = 0; i < parts.size(); ++i) check_close(grads[i], expected[i], 0);
}

Dims dims(const std::vector<int64_t>& values) {
  return Dims(std::span<const int64_t>(values));
}

Tensor apply(const OracleCase& c, const Tensor& x, const Tensor& source) {
  if (c.op == "flip") return flip(x, dims(c.list("axes")));
  if (c.op == "pad") return pad(x, c.list("padding"), c.number("value"));
  const int64_t axis = int64_t(c.number("axis"));
  if (c.op == "index_select") return index_select(x, axis, c["index"].to(x.device()));
  if (c.op == "gather") return gather(x, axis, c["index"].to(x.device()));
  if (c.op == "index_add") return index_add(x, axis, c["index"].to(x.device()), source);
  REQUIRE(c.op == "scatter_add");
  return scatter_add(x, axis, c["index"].to(x.device()), source);
}

}  // namespace

TEST_CASE("indexing and joining agree with PyTorch, gradients included", "[oracle]") {
  const Device device = GENERATE(from_range(test_devices()));
  for (const OracleCase& c : oracle_cases("index")) {
    INFO(c.name);
    if (c.op == "cat" || c.op == "stack") {
      check_joined(c, device);
      continue;
    }
    if (c.op == "one_hot") {
      check_close(one_hot(c["index"].to(device), int64_t(c.number("classes"))), c["y"], 0);
      continue;
    }
    const Tensor x = ops::clone(c["x"]).to(device).set_requires_grad();
    const Tensor source =
        c["source"].defined() ? ops::clone(c["source"]).to(device).set_requires_grad() : Tensor();
    const Tensor y = apply(c, x, source);
    check_close(y, c["y"]);
    const Tensors grads =
        grad({y}, source.defined() ? Tensors{x, source} : Tensors{x}, {oracle_gradient(y).to(device)});
    check_close(grads[0], c["grad_x"]);
    if (source.defined()) check_close(grads[1], c["grad_source"]);
  }
}

TEST_CASE("reading by index works for every dtype and layout") {
  const Device device = GENERATE(from_range(test_devices()));
  const Tensor positions = indices({7}, 4), index = positions.to(device);
  const Tensor each = indices({3, 9, 5, 2}, 4).to(device);
  for (const DType dtype : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool}) {
    INFO(name(dtype));
    const Tensor x = ops::cast(ops::mul(random_tensor({3, 4, 5, 2}), 100.0), dtype).to(device);
    const Tensor nhwc = ops::contiguous(x, kChannelsLast);
    const Tensor selected = ops::index_select(x, 1, index), gathered = ops::gather(x, 1, each);
    CHECK(selected.dtype() == dtype);
    check_close(ops::index_select(nhwc, -3, index), selected, 0);
    check_close(ops::gather(nhwc, -3, each), gathered, 0);
    for (int64_t k = 0; k < 7; ++k) {
      check_close(views::select(selected, 1, k), views::select(x, 1, positions.data<int64_t>()[k]), 0);
    }
    check_close(views::slice(ops::flip(x, {1, 3}), 1, 0, 1), views::slice(ops::flip(x, {3}), 1, 3, 4), 0);
    check_close(ops::flip(ops::flip(nhwc, {2, 3}), {3, 2}), x, 0);
  }
}

TEST_CASE("adding by index is the adjoint of reading by index") {
  const Device device = GENERATE(from_range(test_devices()));
  for (int64_t axis = 0; axis < 3; ++axis) {
    const Tensor x = random_tensor({4, 5, 6}).to(device), index = indices({11}, x.size(axis)).to(device);
    const Tensor y = random_tensor(ops::index_select(x, axis, index).shape(), kFloat64, 2).to(device);
    CHECK(dot(ops::index_select(x, axis, index), y) ==
          Approx(dot(x, ops::index_add(ops::zeros_like(x), axis, index, y))));
    Shape shape{3, 4, 5};
    shape[axis] = 13;
    const Tensor each = indices(shape, x.size(axis)).to(device);
    const Tensor z = random_tensor(shape, kFloat64, 2).to(device);
    CHECK(dot(ops::gather(x, axis, each), z) ==
          Approx(dot(x, ops::scatter_add(ops::zeros_like(x), axis, each, z))));
  }
}

TEST_CASE("sums by index are made in f32 for half types and exact for integers") {
  const Device device = GENERATE(from_range(test_devices()));
  // 4,096 times 1 onto one place: bf16 alone would stop at 256.
  const Tensor index = ops::zeros({4096}, {.dtype = kInt64, .device = device});
  for (const DType dtype : {kBFloat16, kFloat16, kFloat32, kFloat64, kInt32, kInt64}) {
    INFO(name(dtype));
    const Tensor x = ops::zeros({2}, {.dtype = dtype, .device = device});
    const Tensor ones = ops::ones({4096}, {.dtype = dtype, .device = device});
    CHECK(ops::to_vector<double>(ops::index_add(x, 0, index, ones)) == std::vector<double>{4096, 0});
    CHECK(ops::to_vector<double>(ops::scatter_add(x, 0, index, ones)) == std::vector<double>{4096, 0});
    CHECK(ops::to_vector<double>(x) == std::vector<double>{0, 0});
  }
}

TEST_CASE("sums by index on the GPU are the CPU's to the bit") {
  if (gpu::device_count() == 0) return;
  const Device device("cuda");
  // Both add in the order of the source.
  for (const Shape& shape : {Shape{700}, Shape{40, 300}, Shape{3, 50, 7}, Shape{2, 1000}}) {
    for (const DType dtype : {kFloat32, kBFloat16, kInt32}) {
      const Tensor x = ops::cast(ops::mul(random_tensor(shape), 50.0), dtype);
      for (int64_t axis = 0; axis < x.dim(); ++axis) {
        INFO(name(dtype) << shape.str() << " axis " << axis);
        Shape longer = shape;
        longer[axis] = 600;
        const Tensor index = indices({600}, shape[axis]), each = indices(longer, shape[axis]);
        const Tensor source = ops::cast(ops::mul(random_tensor(longer), 50.0), dtype);
        check_close(ops::index_add(x.to(device), axis, index.to(device), source.to(device)),
                    ops::index_add(x, axis, index, source), 0);
        check_close(ops::scatter_add(x.to(device), axis, each.to(device), source.to(device)),
                    ops::scatter_add(x, axis, each, source), 0);
      }
    }
  }
}

TEST_CASE("split takes apart what cat has joined, as views") {
  const Tensor x = random_tensor({2, 7, 3, 4}, kFloat32);
  for (const MemoryFormat format : {kContiguous, kChannelsLast}) {
    const Tensor whole = ops::contiguous(x, format);
    for (int64_t axis = 0; axis < 4; ++axis) {
      for (const int64_t size : {1, 2, 3, 100}) {
        const Tensors parts = split(whole, size, axis);
        CHECK(int64_t(parts.size()) == (x.size(axis) + size - 1) / size);
        for (const Tensor& part : parts) CHECK(part.storage() == whole.storage());
        check_close(cat(parts, axis), x, 0);
      }
    }
    CHECK(cat(split(whole, {3, 0, 4}, 1), 1).is_contiguous());
    CHECK(cat({whole, whole}, 1).memory_format() == format);
    CHECK(pad(whole, {1, 1, 2, 2}).memory_format() == format);
  }
  CHECK(chunk(x, 3, 1).size() == 3);
  CHECK(chunk(x, 3, 1)[2].size(1) == 1);
  CHECK(chunk(x, 5, 0).size() == 2);
  CHECK(split(ops::zeros({0, 3}), 2, 0).size() == 1);
}

TEST_CASE("cat and stack promote dtypes") {
  const Tensor half = ops::ones({2}, {.dtype = kFloat16}), whole = ops::full({2}, 3, {.dtype = kInt64});
  const Tensor y = cat({half, whole, ops::ones({1})});
  CHECK(y.dtype() == kFloat32);
  CHECK(ops::to_vector<double>(y) == std::vector<double>{1, 1, 3, 3, 1});
  CHECK(stack({half, whole}, 1).dtype() == kFloat16);
  const Tensor a = ops::ones({2}, {.dtype = kFloat16}).set_requires_grad();
  const Tensor b = ops::ones({2}, {.dtype = kFloat64}).set_requires_grad();
  const Tensors grads = grad({cat({a, b})}, {a, b}, {ops::ones({4}, {.dtype = kFloat64})});
  CHECK(grads[0].dtype() == kFloat16);
  CHECK(grads[1].dtype() == kFloat64);
}

TEST_CASE("derivatives of indexing and joining are those of finite differences, on a GPU too") {
  for (int64_t axis = 0; axis < 3; ++axis) {
    INFO("axis " << axis);
    const Shape shape{2, 3, 2};
    Shape more = shape;
    more[axis] = 5;
    const Tensor index = indices({5}, shape[axis]), each = indices(more, shape[axis]);
    const std::vector<std::pair<const char*, TensorFunction>> functions = {
        {"index_select",
         [&](const Tensors& in) { return index_select(in[0], axis, index.to(in[0].device())); }},
        {"index_add",
         [&](const Tensors& in) { return index_add(in[0], axis, index.to(in[0].device()), in[1]); }},
        {"gather", [&](const Tensors& in) { return gather(in[0], axis, each.to(in[0].device())); }},
        {"scatter_add",
         [&](const Tensors& in) { return scatter_add(in[0], axis, each.to(in[0].device()), in[1]); }},
        {"cat",
         [&](const Tensors& in) {
           return cat({in[1], in[0], in[1]}, axis);
         }},
        {"stack",
         [&](const Tensors& in) {
           return stack({in[0], in[0]}, axis);
         }},
        {"split",
         [&](const Tensors& in) {
           return split(in[1], {1, 4}, axis)[1];
         }},
        {"flip", [&](const Tensors& in) { return flip(in[0], {axis}); }},
        {"pad",
         [&](const Tensors& in) {
           return pad(in[0], {1, 0, 0, 2}, 3);
         }},
    };
    for (const auto& [name, f] : functions) {
      INFO(name);
      CHECK(gradcheck(f, {leaf(shape), leaf(more, 2)}));
      CHECK(gradgradcheck(f, {leaf(shape), leaf(more, 2)}));
      // A sum of both, so that every function depends on either.
      check_gpu_derivatives([&, g = f](const Tensors& in) { return g(in) + sum(in[0]) + sum(in[1]); },
                            {leaf(shape), leaf(more, 2)}, 64, {kFloat64, kFloat32});
    }
  }
}

TEST_CASE("indexing is the same bits for any number of threads") {
  const Tensor x = random_tensor({40, 50, 60}, kFloat32);
  for (int64_t axis = 0; axis < 3; ++axis) {
    Shape shape = x.shape();
    shape[axis] = 31;
    const Tensor index = indices({997}, x.size(axis)), each = indices(shape, x.size(axis));
    const auto run = [&](int threads) {
      const ThreadsGuard guard(threads);
      const Tensor selected = ops::index_select(x, axis, index);
      return Tensors{selected, ops::index_add(x, axis, index, selected), ops::gather(x, axis, each),
                     ops::scatter_add(x, axis, each, random_tensor(shape, kFloat32, 2))};
    };
    const Tensors one = run(1), three = run(3);
    for (size_t i = 0; i < one.size(); ++i) check_close(three[i], one[i], 0);
  }
}

TEST_CASE("indexing names what does not fit") {
  const Tensor x = random_tensor({3, 4}, kFloat32), index = indices({2}, 3);
  const auto at = [](std::vector<int64_t> values) { return from_vector(values); };
  CHECK_THROWS_WITH(index_select(x, 0, at({0, 3})), "index_select: index[1] is 3, needs to be from 0 to 2");
  CHECK_THROWS_WITH(index_select(x, 0, at({-1})), Contains("index[0] is -1"));
  CHECK_THROWS_WITH(index_select(x, 0, random_tensor({2})), Contains("index must be i64, got f64"));
  CHECK_THROWS_WITH(index_select(x, 0, indices({2, 2}, 3)), Contains("one dimension, got shape [2, 2]"));
  CHECK_THROWS_WITH(index_select(x, 2, index), Contains("index_select: axis 2 is out of range"));
  CHECK_THROWS_WITH(index_select(ops::ones({}), 0, index), Contains("no slices"));
  CHECK_THROWS_WITH(index_add(x, 0, index, ops::ones({3, 4})), Contains("source must be [2, 4], got [3, 4]"));
  CHECK_THROWS_WITH(index_add(x, 0, index, random_tensor({2, 4})), Contains("one number type"));
  CHECK_THROWS_WITH(gather(x, 0, indices({2, 5}, 3)), Contains("index [2, 5]") && Contains("x [3, 4]"));
  CHECK_THROWS_WITH(gather(x, 1, views::view(at({0, 1, 2, 4}), {2, 2})), Contains("index[1, 1] is 4"));
  CHECK_THROWS_WITH(scatter_add(x, 0, indices({2, 4}, 3), ops::ones({2, 3})),
                    Contains("source must be [2, 4]"));
  CHECK_THROWS_WITH(one_hot(at({5}), 5), Contains("one_hot: index[0] is 5"));
  CHECK_THROWS_WITH(one_hot(at({0}), 0), Contains("at least 1 class"));
  CHECK_THROWS_WITH(cat({x, ops::ones({3, 5})}, 0),
                    Contains("cat: tensor 1 [3, 5] does not fit tensor 0 [3, 4]"));
  CHECK_THROWS_WITH(cat({}), Contains("at least one tensor"));
  CHECK_THROWS_WITH(cat({ops::ones({})}), Contains("use stack"));
  CHECK_THROWS_WITH(stack({x, ops::ones({4, 3})}), Contains("tensor 1 is [4, 3]"));
  CHECK_THROWS_WITH(split(x, {1, 1}, 0), Contains("sizes [1, 1] do not add up to 3"));
  CHECK_THROWS_WITH(split(x, 0), Contains("at least 1"));
  CHECK_THROWS_WITH(pad(x, {1}), Contains("two numbers for each"));
  CHECK_THROWS_WITH(pad(x, {-1, 0}), Contains("must not be negative"));
}
