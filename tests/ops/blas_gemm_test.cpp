// The translation of row-major products to the column-major ones that BLAS libraries compute, against an
// interpreter of what such a library does with its arguments. All on the host: the translation reads nothing.

#include "taper/ops/vendor/blas_gemm.h"

#include "test_tensors.h"
#include "tolerance.h"

#include <catch2/catch.hpp>

using namespace taper;

namespace {

/// Element (i, j) of op(x) for matrix `batch`, as BLAS libraries read it.
double element(const void* data, const ops::BlasMatrix& x, bool transpose, int64_t batch, int64_t i,
               int64_t j) {
  if (transpose) std::swap(i, j);
  REQUIRE(i < x.rows);
  REQUIRE(j < x.cols);
  return static_cast<const double*>(data)[batch * x.batch_stride + j * x.ld + i];
}

void run_as_a_library(const ops::BlasGemm& gemm, const ops::EngineOperands& operands) {
  using ops::Operand;
  const auto& d = gemm.d;
  const void *const a = operands.address(Operand::kA), *const b = operands.address(Operand::kB);
  const auto* const c = static_cast<const double*>(operands.address(Operand::kC));
  const auto* const bias = static_cast<const double*>(operands.address(Operand::kBias));
  REQUIRE((gemm.c == (c != nullptr) && gemm.bias == (bias != nullptr)));
  REQUIRE((d.rows == gemm.m && d.cols == gemm.n));
  for (const ops::BlasMatrix& x : {gemm.a, gemm.b, gemm.d}) REQUIRE(x.ld >= x.rows);
  for (int64_t batch = 0; batch < gemm.batches; ++batch) {
    for (int64_t j = 0; j < gemm.n; ++j) {
      for (int64_t i = 0; i < gemm.m; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < gemm.k; ++l)
          sum += element(a, gemm.a, gemm.transpose_a, batch, i, l) *
                 element(b, gemm.b, gemm.transpose_b, batch, l, j);
        const int64_t place = batch * d.batch_stride + j * d.ld + i;
        if (c != nullptr) sum += c[place];
        if (bias != nullptr) sum += bias[batch * gemm.bias_batch_stride + i];
        static_cast<double*>(operands.address(Operand::kD))[place] =
            gemm.activation == Activation::kRelu ? std::max(sum, 0.) : sum;
      }
    }
  }
}

/// Where (i, j) of matrix (outer, inner) is, as gpu/gemm.h says.
int64_t place(const ops::GpuMatrix& x, int64_t outer, int64_t inner, int64_t i, int64_t j) {
  return outer * x.batch_outer + inner * x.batch_inner + (x.transposed ? j * x.stride + i : i * x.stride + j);
}

std::vector<double> numbers(size_t count, uint64_t seed) {
  return ops::to_vector<double>(random_tensor({int64_t(count)}, kFloat64, seed));
}

/// A batch of rows x cols matrices whose rows or columns are `gap` elements longer than they need be.
ops::GpuMatrix matrix(std::vector<double>& data, int64_t rows, int64_t cols, bool transposed, int64_t gap,
                      const ops::GemmSizes& sizes, uint64_t seed) {
  const int64_t stride = (transposed ? rows : cols) + gap, size = stride * (transposed ? cols : rows);
  data = numbers(size_t(size * sizes.batches()), seed);
  return {data.data(), stride, transposed, size * sizes.batch_inner, size};
}

}  // namespace

TEST_CASE("a library that is given the translation computes the row-major product") {
  const bool a_transposed = GENERATE(false, true), b_transposed = GENERATE(false, true);
  const int64_t gap = GENERATE(0, 3);
  const int epilogue = GENERATE(0, 1, 2, 4, 7);
  const ops::GemmSizes sizes = GENERATE(ops::GemmSizes{3, 4, 5}, ops::GemmSizes{1, 4, 5, 3},
                                        ops::GemmSizes{4, 1, 2, 1, 3}, ops::GemmSizes{2, 3, 1, 2, 3});
  const auto& [m, n, k, outer_count, inner_count] = sizes;
  std::vector<double> a, b, c;
  ops::GpuGemm gemm{.dtype = kFloat64,
                    .sizes = sizes,
                    .a = matrix(a, m, k, a_transposed, gap, sizes, 1),
                    .b = matrix(b, k, n, b_transposed, gap, sizes, 2),
                    .c = matrix(c, m, n, false, gap, sizes, 3)};
  const std::vector<double> bias = numbers(size_t(n), 4), residual = numbers(c.size(), 5);
  if (epilogue & 1) gemm.bias = bias.data();
  if (epilogue & 2) gemm.residual = residual.data();
  gemm.activation = epilogue & 4 ? Activation::kRelu : Activation::kNone;

  std::vector<double> expected = c;
  for (int64_t outer = 0; outer < outer_count; ++outer) {
    for (int64_t inner = 0; inner < inner_count; ++inner) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const auto at = size_t(place(gemm.c, outer, inner, i, j));
          double sum = (gemm.bias ? bias[size_t(j)] : 0) + (gemm.residual ? residual[at] : 0);
          for (int64_t l = 0; l < k; ++l)
            sum +=
                a[size_t(place(gemm.a, outer, inner, i, l))] * b[size_t(place(gemm.b, outer, inner, l, j))];
          expected[at] = gemm.activation == Activation::kRelu ? std::max(sum, 0.) : sum;
        }
      }
    }
  }
  const auto translated = ops::blas_gemm(gemm);
  REQUIRE(translated.has_value());
  run_as_a_library(*translated, ops::blas_operands(gemm, kCPU));
  check_close(c, expected, tolerance(kFloat64, k));  // the gaps too: nothing may be written there
}

TEST_CASE("batches: one stride, shared operands, a bias for each matrix") {
  std::vector<double> a = numbers(6, 1), b = numbers(3 * 6, 2), c(3 * 4), bias = numbers(6, 3);
  const ops::GpuGemm gemm{
      .dtype = kFloat64,
      .sizes = {.m = 2, .n = 2, .k = 3, .batch_inner = 3},
      .a = {.data = a.data(), .stride = 3},
      .b = {.data = b.data(), .stride = 2, .batch_inner = 6},
      .c = {.data = c.data(), .stride = 6, .batch_inner = 2},  // side by side, as groups are
      .bias = bias.data(),
      .bias_batch_inner = 2};
  const auto translated = ops::blas_gemm(gemm);
  REQUIRE(translated.has_value());
  CHECK(translated->b.batch_stride == 0);
  run_as_a_library(*translated, ops::blas_operands(gemm, kCPU));
  for (int64_t g = 0; g < 3; ++g)
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 2; ++j) {
        double sum = bias[size_t(g * 2 + j)];
        for (int64_t l = 0; l < 3; ++l) sum += a[size_t(i * 3 + l)] * b[size_t(g * 6 + l * 2 + j)];
        CHECK(c[size_t(i * 6 + g * 2 + j)] == Approx(sum));
      }
}

TEST_CASE("what BLAS libraries cannot say is not translated") {
  const auto gemm = [](ops::GemmSizes sizes, int64_t a_outer, int64_t a_inner, int64_t bias_inner = -1) {
    static const double bias = 0;
    return ops::GpuGemm{.dtype = kFloat64,
                        .sizes = sizes,
                        .a = {.stride = 4, .batch_outer = a_outer, .batch_inner = a_inner},
                        .b = {.stride = 4},
                        .c = {.stride = 4, .batch_outer = 48, .batch_inner = 16},
                        .bias = bias_inner < 0 ? nullptr : &bias,
                        .bias_batch_inner = std::max<int64_t>(bias_inner, 0)};
  };
  const ops::GemmSizes both{4, 4, 4, 2, 3};
  CHECK(ops::blas_gemm(gemm(both, 48, 16)));
  CHECK(ops::blas_gemm(gemm(both, 0, 0)));
  CHECK_FALSE(ops::blas_gemm(gemm(both, 16, 32)));  // heads that were permuted
  CHECK_FALSE(ops::blas_gemm(gemm(both, 0, 16)));   // shared along one axis alone
  CHECK(ops::blas_gemm(gemm(both, 48, 16, 0)));
  CHECK_FALSE(ops::blas_gemm(gemm(both, 48, 16, 4)));
  for (const ops::GemmSizes empty : {ops::GemmSizes{0, 4, 4}, ops::GemmSizes{4, 0, 4},
                                     ops::GemmSizes{4, 4, 0}, ops::GemmSizes{4, 4, 4, 0, 3}})
    CHECK_FALSE(ops::blas_gemm(gemm(empty, 0, 0)));
}
