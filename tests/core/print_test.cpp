// Tensors print as PyTorch prints them, with Taper's dtype names.

#include "taper/core/tensor.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"

using namespace taper;

TEST_CASE("tensors print as in PyTorch") {
  const auto shaped = [](int64_t count, const Shape& shape) {
    return views::view(ops::arange(count), shape);
  };
  const std::vector<std::pair<Tensor, const char*>> cases = {
      {from_vector<float>({1, 2.5, -3}), "tensor([ 1.0000,  2.5000, -3.0000])"},
      {from_vector<float>({1, 2, 3}), "tensor([1., 2., 3.])"},
      {ops::full({}, 1.5), "tensor(1.5000)"},
      {shaped(6, {2, 3}), "tensor([[0, 1, 2],\n        [3, 4, 5]], dtype=i64)"},
      {shaped(12, {2, 2, 3}),
       "tensor([[[ 0,  1,  2],\n         [ 3,  4,  5]],\n\n        [[ 6,  7,  8],\n         [ 9, 10, 11]]], "
       "dtype=i64)"},
      {from_vector<float>({1e-8f, 1}), "tensor([1.0000e-08, 1.0000e+00])"},
      {from_vector<float>({1e10f, 1}), "tensor([1.0000e+10, 1.0000e+00])"},
      {from_vector<float>({NAN, INFINITY, -INFINITY, 1}), "tensor([ nan,  inf, -inf,   1.])"},
      {ops::gt(ops::arange(2), 0), "tensor([false,  true], dtype=bool)"},
      {ops::zeros({0}), "tensor([])"},
      {ops::zeros({2, 0}), "tensor([], shape=[2, 0])"},
      {ops::cast(from_vector<float>({0.5f, 1}), kBFloat16), "tensor([0.5000, 1.0000], dtype=bf16)"},
      {ops::arange(2000), "tensor([   0,    1,    2, ..., 1997, 1998, 1999], dtype=i64)"},
      {ops::zeros({1001, 2}),
       "tensor([[0., 0.],\n        [0., 0.],\n        [0., 0.],\n        ...,\n        [0., 0.],\n        "
       "[0., "
       "0.],\n        [0., 0.]])"},
      {views::transpose(shaped(4, {2, 2}), 0, 1), "tensor([[0, 2],\n        [1, 3]], dtype=i64)"},
      {Tensor(), "tensor(undefined)"},
  };
  for (const auto& [x, text] : cases) CHECK(to_string(x) == text);
}

TEST_CASE("long rows wrap below their first number") {
  const std::string text = to_string(ops::linspace(0, 1, 30));
  CHECK(text.find(",\n        0.") != std::string::npos);
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    CHECK(end - begin <= 101);
}
