// The GPU's matrix-product kernels by themselves: every layout, alignment and epilogue, with k split and not.

#include <catch2/catch.hpp>

#include "taper/ops/gemm/gpu/gemm.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

using namespace taper;

namespace {

struct GemmCase {
  std::string name;
  int64_t m, n, k;
};

const std::vector<GemmCase> kSizes = {
    {"one tile", 64, 64, 64},          {"vectors, odd tiles", 72, 40, 88},  {"no vectors", 33, 7, 19},
    {"k split, vectors", 16, 8, 2600}, {"k split, no vectors", 5, 3, 2601}, {"no inner size", 9, 16, 0},
};

/// [m, k] row-major or, transposed, [k, m]: where (i, j) is.
size_t place(bool transposed, int64_t stride, int64_t i, int64_t j) {
  return size_t(transposed ? j * stride + i : i * stride + j);
}

}  // namespace

TEST_CASE("GPU matrix products: every layout and epilogue") {
  if (gpu::device_count() == 0) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  const bool a_transposed = GENERATE(false, true), b_transposed = GENERATE(false, true);
  const Device cuda("cuda");
  for (const GemmCase& test : kSizes) {
    const int64_t m = test.m, n = test.n, k = test.k;
    const int64_t a_stride = a_transposed ? m : k, b_stride = b_transposed ? k : n;
    const Tensor a = random_tensor({m * k}, dtype, 1), b = random_tensor({k * n}, dtype, 2);
    const Tensor bias = random_tensor({n}, dtype, 3), residual = random_tensor({m, n}, dtype, 4);
    const auto a_values = ops::to_vector<double>(a), b_values = ops::to_vector<double>(b);
    const auto bias_values = ops::to_vector<double>(bias), residual_values = ops::to_vector<double>(residual);
    const Tensor device_a = a.to(cuda), device_b = b.to(cuda), device_bias = bias.to(cuda),
                 device_residual = residual.to(cuda);
    for (const int epilogue : {0, 1, 2, 4, 7}) {
      const bool has_bias = epilogue & 1, has_residual = epilogue & 2, relu = epilogue & 4;
      INFO(test.name << ", " << name(dtype) << (a_transposed ? ", a transposed" : "")
                     << (b_transposed ? ", b transposed" : "") << (has_bias ? ", bias" : "")
                     << (has_residual ? ", residual" : "") << (relu ? ", relu" : ""));
      const Tensor c = empty({m, n}, {.dtype = dtype, .device = cuda});
      ops::GpuGemm gemm = {.dtype = dtype,
                           .sizes = {.m = m, .n = n, .k = k},
                           .a = {.data = device_a.data_ptr(), .stride = a_stride, .transposed = a_transposed},
                           .b = {.data = device_b.data_ptr(), .stride = b_stride, .transposed = b_transposed},
                           .c = {.data = c.data_ptr(), .stride = n},
                           .bias = has_bias ? device_bias.data_ptr() : nullptr,
                           .residual = has_residual ? device_residual.data_ptr() : nullptr,
                           .activation = relu ? Activation::kRelu : Activation::kNone};
      ops::gemm_gpu("test", gemm);
      std::vector<double> expected;
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double sum = has_bias ? bias_values[size_t(j)] : 0;
          if (has_residual) sum += residual_values[size_t(i * n + j)];
          for (int64_t l = 0; l < k; ++l)
            sum +=
                a_values[place(a_transposed, a_stride, i, l)] * b_values[place(b_transposed, b_stride, l, j)];
          expected.push_back(relu ? std::max(sum, 0.0) : sum);
        }
      }
      check_close(ops::to_vector<double>(c), expected, tolerance(dtype, k));
      if (!is_half(dtype) || epilogue != 0) continue;
      const Tensor sums = empty({m, n}, {.device = cuda});
      gemm.c.data = sums.data_ptr();
      gemm.f32_result = true;
      ops::gemm_gpu("test", gemm);
      check_close(ops::to_vector<double>(sums), expected, tolerance(kFloat32, k));
      check_close(ops::cast(sums, dtype), c, 0);
    }
  }
}

TEST_CASE("GPU matrix products with split sums give the same bits every time") {
  if (gpu::device_count() == 0) return;
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  const Device cuda("cuda");
  const Tensor a = random_tensor({16, 4000}, dtype).to(cuda),
               b = random_tensor({4000, 24}, dtype, 2).to(cuda);
  const auto product = [&] {  // by Taper's kernel, whatever a library would do
    const Tensor c = empty({16, 24}, {.dtype = dtype, .device = cuda});
    ops::gemm_gpu("test", {.dtype = dtype,
                           .sizes = {.m = 16, .n = 24, .k = 4000},
                           .a = {.data = a.data_ptr(), .stride = 4000},
                           .b = {.data = b.data_ptr(), .stride = 24},
                           .c = {.data = c.data_ptr(), .stride = 24}});
    return ops::to_vector<double>(c);
  };
  const auto first = product();
  for (int i = 0; i < 3; ++i) CHECK(product() == first);
}

TEST_CASE("GPU matrix products refuse sizes beyond their indices") {
  CHECK_THROWS_WITH(ops::check_gemm_sizes("matmul", {.m = int64_t(1) << 31, .n = 1, .k = 1}),
                    Catch::Contains("matmul: 1 products [2147483648, 1] x [1, 1]"));
  CHECK_NOTHROW(ops::check_gemm_sizes("matmul", {.m = int64_t(1) << 30, .n = 1, .k = 1}));
}
