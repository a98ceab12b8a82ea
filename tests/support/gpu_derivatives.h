#pragma once
// Compares derivatives on a GPU with the CPU's, which finite differences and PyTorch have confirmed.

#include <initializer_list>

#include "taper/core/tensor.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

namespace taper {

/// Returns f's result and the gradients of its inputs: the values of `inputs`, rounded to `dtype`, computed
/// in `compute`. The gradient of the result depends on the result's shape alone.
template <class F>
std::vector<Tensor> result_and_gradients(const F& f, const std::vector<Tensor>& inputs, DType dtype,
                                         DType compute, Device device) {
  const auto prepared = [&](const Tensor& x) {
    return ops::to_device(ops::cast(ops::cast(x.detach(), dtype), compute), device);
  };
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) leaves.push_back(prepared(x).set_requires_grad());
  const Tensor y = f(leaves);
  y.backward(prepared(random_tensor(y.shape(), kFloat64, 77)));
  std::vector<Tensor> all = {y.detach()};
  for (const Tensor& x : leaves) all.push_back(x.grad());
  return all;
}

/// Fails the test unless f's result and gradients on the GPU match the CPU's in f64 for equal inputs, up to
/// the rounding of sums of `terms` products in each dtype. f takes and returns tensors of one device and one
/// dtype. Every input must have an effect on the result.
template <class F>
void check_gpu_derivatives(const F& f, const std::vector<Tensor>& inputs, int64_t terms,
                           std::initializer_list<DType> dtypes = {kFloat64, kFloat32, kFloat16, kBFloat16}) {
  for (const DType dtype : dtypes) {
    INFO(name(dtype) << " on the GPU");
    const std::vector<Tensor> expected = result_and_gradients(f, inputs, dtype, kFloat64, Device("cpu"));
    const std::vector<Tensor> actual = result_and_gradients(f, inputs, dtype, dtype, Device("cuda"));
    for (size_t i = 0; i < expected.size(); ++i) {
      INFO((i == 0 ? "the result" : "the gradient of an input") << ", " << i);
      REQUIRE(actual[i].defined());
      CHECK(actual[i].device().is_cuda());
      CHECK(actual[i].dtype() == dtype);
      // In f64 neither side is exact.
      check_close(actual[i], expected[i], (dtype == kFloat64 ? 2 : 1) * tolerance(dtype, terms));
    }
  }
}

}  // namespace taper
