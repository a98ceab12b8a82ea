#include "taper/ops/matmul/matmul_gpu.h"

#include <algorithm>

#include "taper/core/tf32.h"
#include "taper/core/views.h"
#include "taper/ops/gemm/gemm_call.h"

namespace taper::ops {
namespace {

/// The last two axes of x, without batch strides.
GpuMatrix matrix_of(const Tensor& x) {
  const int64_t rows = x.size(-2), cols = x.size(-1);
  const int64_t row_stride = x.strides()[x.dim() - 2], col_stride = x.strides().back();
  const bool has_rows = (col_stride == 1 || cols <= 1) && (row_stride >= cols || rows <= 1);
  if (!has_rows) return {x.data_ptr(), std::max(col_stride, rows), true};
  return {x.data_ptr(), std::max(row_stride, cols), false};
}

/// The batch axes that one launch covers: the last one or two axes after merging neighbours.
struct BatchAxis {
  int64_t size, a, b, c;
};
struct BatchAxes {
  BatchAxis axes[kMaxDims];
  int count = 0;

  BatchAxes(const Tensor& a, const Tensor& b, const Tensor& c) {
    for (int64_t i = 0; i < c.dim() - 2; ++i) {
      const BatchAxis axis{c.size(i), a.strides()[i], b.strides()[i], c.strides()[i]};
      if (axis.size == 1) continue;
      BatchAxis* last = count > 0 ? &axes[count - 1] : nullptr;
      const int64_t n = axis.size;
      if (last && last->a == n * axis.a && last->b == n * axis.b && last->c == n * axis.c) {
        *last = {last->size * n, axis.a, axis.b, axis.c};
      } else {
        axes[count++] = axis;
      }
    }
  }
};

void offset_elements(GpuMatrix& x, int64_t elements, DType dtype) {
  x.data = static_cast<char*>(x.data) + elements * int64_t(size_of(dtype));
}

}  // namespace

void matmul_gpu(const Tensor& a, const Tensor& b, const Tensor& c) {
  if (c.numel() == 0) return;
  const BatchAxes batch(a, b, c);
  GpuGemm gemm{.dtype = a.dtype(),
               .sizes = {.m = c.size(-2), .n = c.size(-1), .k = a.size(-1)},
               .a = matrix_of(a),
               .b = matrix_of(b),
               .c = matrix_of(c),
               .allow_tf32 = allow_tf32_matmul()};
  const int outside = std::max(batch.count - 2, 0);  // axes that need a launch per index
  if (batch.count > outside) {
    const BatchAxis& axis = batch.axes[batch.count - 1];
    gemm.sizes.batch_inner = axis.size;
    gemm.a.batch_inner = axis.a;
    gemm.b.batch_inner = axis.b;
    gemm.c.batch_inner = axis.c;
  }
  if (batch.count > outside + 1) {
    const BatchAxis& axis = batch.axes[batch.count - 2];
    gemm.sizes.batch_outer = axis.size;
    gemm.a.batch_outer = axis.a;
    gemm.b.batch_outer = axis.b;
    gemm.c.batch_outer = axis.c;
  }
  int64_t launches = 1;
  for (int i = 0; i < outside; ++i) launches *= batch.axes[i].size;
  for (int64_t launch = 0; launch < launches; ++launch) {
    GemmCall part{.gemm = gemm, .c = c};
    int64_t rest = launch;
    for (int i = outside - 1; i >= 0; --i) {
      const BatchAxis& axis = batch.axes[i];
      const int64_t index = rest % axis.size;
      rest /= axis.size;
      offset_elements(part.gemm.a, index * axis.a, gemm.dtype);
      offset_elements(part.gemm.b, index * axis.b, gemm.dtype);
      part.c_offset += index * axis.c;
    }
    run_gemm("matmul", part);
  }
}

void linear_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation,
                const Tensor& y) {
  run_gemm("linear", {.gemm = {.dtype = y.dtype(),
                               .sizes = {.m = y.size(0), .n = y.size(1), .k = x.size(1)},
                               .a = matrix_of(x),
                               .b = matrix_of(views::transpose(weight, 0, 1)),
                               .c = matrix_of(y),
                               .bias = bias.defined() ? bias.data_ptr() : nullptr,
                               .activation = activation,
                               .allow_tf32 = allow_tf32_matmul()},
                      .c = y});
}

}  // namespace taper::ops
