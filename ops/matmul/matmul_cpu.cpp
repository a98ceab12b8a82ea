#include "taper/ops/matmul/matmul_cpu.h"

#include <algorithm>
#include <type_traits>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/cpu_level.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/gemm/cpu/dot_products.h"
#include "taper/ops/gemm/cpu/gemm.h"
#include "taper/ops/gemm/cpu/gemm_eigen.h"
#include "taper/ops/gemm/cpu/half_gemm.h"

namespace taper::ops {
namespace {

enum class Layout { kRows, kColumns, kNeither };

Layout layout_of(const Tensor& x) {
  const int64_t rows = x.size(-2), cols = x.size(-1);
  const int64_t row_stride = x.strides()[x.dim() - 2], col_stride = x.strides().back();
  if ((col_stride == 1 || cols <= 1) && (row_stride >= cols || rows <= 1)) return Layout::kRows;
  if ((row_stride == 1 || rows <= 1) && (col_stride >= rows || cols <= 1)) return Layout::kColumns;
  return Layout::kNeither;
}

template <class T>
Matrix<T> matrix_of(const Tensor& x, int64_t batch_index) {
  int64_t offset = 0;
  for (int64_t axis = x.dim() - 3; axis >= 0; --axis) {
    offset += batch_index % x.size(axis) * x.strides()[axis];
    batch_index /= x.size(axis);
  }
  T* data = x.data<std::remove_const_t<T>>() + offset;
  const int64_t rows = x.size(-2), cols = x.size(-1);
  if (layout_of(x) == Layout::kColumns) return {data, rows, cols, std::max(x.strides().back(), rows), true};
  return {data, rows, cols, std::max(x.strides()[x.dim() - 2], cols), false};
}

template <class T>
void multiply(const Tensor& a, const Tensor& b, T beta, const Tensor& c) {
  const int64_t m = c.size(-2), n = c.size(-1), k = a.size(-1);
  if (c.numel() == 0) return;
  const int64_t batch = c.numel() / (m * n);
  if (batch == 1)
    return gemm<T>(matrix_of<const T>(a, 0), matrix_of<const T>(b, 0), beta, matrix_of<T>(c, 0));
  const GemmBlocks blocks = gemm_blocks<T>(m, n, k);
  const int64_t per_matrix = blocks.count_rows * blocks.count_cols;
  // A piece of work has several tiny products.
  const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 19) / std::max<int64_t>(2 * m * n * k, 1));
  parallel_for(batch * per_matrix, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % per_matrix / blocks.count_cols * blocks.rows;
      const int64_t col = i % per_matrix % blocks.count_cols * blocks.cols;
      const int64_t rows = std::min(blocks.rows, m - row), cols = std::min(blocks.cols, n - col);
      gemm_block<T>(matrix_of<const T>(a, i / per_matrix).block(row, 0, rows, k),
                    matrix_of<const T>(b, i / per_matrix).block(0, col, k, cols), beta,
                    matrix_of<T>(c, i / per_matrix).block(row, col, rows, cols));
    }
  });
}

/// A product of T, Half or BFloat16, by a kernel of gemm/cpu/half_kernel.h.
template <class T, class Out, class K>
void multiply_half(const K& kernel, const MatmulCall& call) {
  const int64_t m = call.c.size(-2), n = call.c.size(-1), k = call.a.size(-1);
  const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 19) / std::max<int64_t>(2 * m * n * k, 1));
  // One matrix is divided among the threads; of several, each belongs to one thread.
  parallel_for(call.c.numel() / (m * n), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      gemm_half<K, T, Out>(kernel, matrix_of<const T>(call.a, i), matrix_of<const T>(call.b, i),
                           float(call.beta), matrix_of<Out>(call.c, i));
    }
  });
}

#if TAPER_HAVE_AVX512BF16
/// The kernels for bf16 multiply no other dtype.
template <const PairKernel& kKernel>
void multiply_pairs(const MatmulCall& call, void*) {
  call.c.dtype() == kFloat32 ? multiply_half<BFloat16, float>(kKernel, call)
                             : multiply_half<BFloat16, BFloat16>(kKernel, call);
}
#endif

/// Calls body.operator()<T, Out>() with the types of the operands and of the result.
template <class Body>
void dispatch_types(const MatmulCall& call, Body&& body) {
  const auto with_operands = [&]<class T>() {
    call.c.dtype() == dtype_of<T> ? body.template operator()<T, T>() : body.template operator()<T, float>();
  };
  if (call.a.dtype() == kBFloat16) return with_operands.template operator()<BFloat16>();
  if (call.a.dtype() == kFloat16) return with_operands.template operator()<Half>();
  dispatch_compute_float(call.a.dtype(), "matmul", [&]<class T>() { body.template operator()<T, T>(); });
}

void multiply_packed(const MatmulCall& call, void*) {
  dispatch_types(call, [&]<class T, class Out>() {
    if constexpr (is_half(dtype_of<T>)) {
      multiply_half<T, Out>(WideningKernel(), call);
    } else {
      multiply<T>(call.a, call.b, T(call.beta), call.c);
    }
  });
}

void multiply_vectors(const MatmulCall& call, void*) {
  dispatch_types(call, [&]<class T, class Out>() {
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const Tensor b_columns = views::transpose(call.b, -2, -1);
    dot_products<T, Sum, Out>(matrix_of<const T>(call.a, 0), matrix_of<const T>(b_columns, 0).t(),
                              Sum(call.beta), matrix_of<Out>(call.c, 0));
  });
}

/// A product by Eigen, which computes on the calling thread. Free threads take slices of the longer side of
/// c, one after the other. The number of slices depends on the sizes alone.
template <class T>
void multiply_eigen(const MatmulCall& call) {
  const int64_t m = call.c.size(-2), n = call.c.size(-1), k = call.a.size(-1);
  constexpr int64_t kSliceFlops = int64_t(1) << 24, kMostSlices = 16;
  const int64_t wanted = std::clamp<int64_t>(2 * m * n * k / kSliceFlops, 1, kMostSlices);
  const bool by_rows = m >= n;
  const int64_t length = by_rows ? m : n, step = ceil_div(length, wanted);
  const int64_t slices = ceil_div(length, step);
  parallel_chunks(call.c.numel() / (m * n) * slices, [&](int64_t chunk) {
    const int64_t matrix = chunk / slices, first = chunk % slices * step,
                  count = std::min(step, length - first);
    const int64_t row = by_rows ? first : 0, rows = by_rows ? count : m;
    const int64_t col = by_rows ? 0 : first, cols = by_rows ? n : count;
    gemm_eigen(matrix_of<const T>(call.a, matrix).block(row, 0, rows, k),
               matrix_of<const T>(call.b, matrix).block(0, col, k, cols), T(call.beta),
               matrix_of<T>(call.c, matrix).block(row, col, rows, cols));
  });
}

/// Seconds on one core with AVX-512, as measured; other CPUs are slower at every algorithm alike.
struct MatmulCost {
  explicit MatmulCost(const MatmulCall& call)
      : flops(2. * double(call.c.numel()) * double(call.a.size(-1))),
        operand_bytes(double(call.a.size_bytes() + call.b.size_bytes())) {}

  /// Both operands are copied into panels, which are then multiplied at full speed.
  double packed(double flops_per_second) const {
    return 4e-6 + operand_bytes / 30e9 + flops / flops_per_second;
  }
  /// A few vectors are multiplied while the matrix arrives from memory. Further vectors cost their
  /// arithmetic, with two loads for each multiplication.
  double dot_products() const { return std::max(operand_bytes / 60e9, flops / 55e9); }

  double flops, operand_bytes;
};

}  // namespace

bool is_matrix_layout(const Tensor& x) {
  return layout_of(x) != Layout::kNeither;
}

std::vector<Algorithm> matmul_cpu_algorithms(const MatmulCall& call) {
  const MatmulCost cost(call);
  const bool one_matrix = call.c.numel() == call.c.size(-2) * call.c.size(-1);
  const bool rows_times_columns =
      layout_of(call.a) == Layout::kRows && layout_of(views::transpose(call.b, -2, -1)) == Layout::kRows;
  std::vector<Algorithm> list = {{.name = "packed", .rank = cost.packed(190e9), .run = multiply_packed},
                                 {.name = "dot products",
                                  .supported = one_matrix && rows_times_columns,
                                  .rank = cost.dot_products(),
                                  .run = multiply_vectors}};
#if TAPER_HAVE_AVX512BF16
  if (call.a.dtype() == kBFloat16)
    append(list, {{.name = "avx512-bf16",
                   .supported = cpu_level() >= CpuLevel::kAvx512Bf16,
                   .rank = cost.packed(190e9 * bf16_dot_speed()),
                   .run = multiply_pairs<kBf16DotKernel>}});
#endif
#if TAPER_HAVE_AMX
  if (call.a.dtype() == kBFloat16)
    append(list, {{.name = "amx",
                   .supported = cpu_level() >= CpuLevel::kAmx,
                   .rank = cost.packed(1500e9),
                   .run = multiply_pairs<kAmxKernel>}});
#endif
  // Eigen never wins unless it was measured, so it is listed only where algorithms are measured.
  if (algorithm_cache().mode() == AlgorithmMode::kBenchmark && !is_half(call.a.dtype()))
    list.push_back({.name = eigen_name(),
                    .supported = call.a.size(-1) > 0,
                    .rank = 4 * std::max(cost.packed(190e9), cost.dot_products()),
                    .run = [](const MatmulCall& m, void*) {
                      dispatch_compute_float(m.c.dtype(), "matmul", [&]<class T>() { multiply_eigen<T>(m); });
                    }});
  return list;
}

void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c) {
  if (c.numel() == 0) return;
  algorithm_cache().run(MatmulCall{a, b, c, beta}, matmul_cpu_algorithms);
}

}  // namespace taper::ops
