// The CPU's average pooling.

#include <algorithm>

#include "taper/core/base/parallel.h"
#include "taper/ops/pool/pool2d_cpu.h"

namespace taper::ops {

void avg_pool2d_cpu(const Tensor& x, const PoolWindows& windows, const Tensor& y) {
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t p_size = y.size(2), q_size = y.size(3);
  dispatch_compute_float(x.dtype(), "avg_pool2d", [&]<class T>() {
    parallel_for(x.size(0) * p_size, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* image = x.data<T>() + row / p_size * height * width * channels;
        const PoolWindow& rows = windows.rows[size_t(row % p_size)];
        for (int64_t q = 0; q < q_size; ++q) {
          const PoolWindow& columns = windows.columns[size_t(q)];
          T* __restrict sum = y.data<T>() + (row * q_size + q) * channels;
          std::fill(sum, sum + channels, T(0));
          for (int64_t h = rows.begin; h < rows.end; ++h) {
            for (int64_t w = columns.begin; w < columns.end; ++w) {
              const T* __restrict values = image + (h * width + w) * channels;
              for (int64_t c = 0; c < channels; ++c) sum[c] += values[c];
            }
          }
          const T divisor = T(rows.divisor * columns.divisor);
          for (int64_t c = 0; c < channels; ++c) sum[c] /= divisor;
        }
      }
    });
  });
}

void avg_pool2d_backward_cpu(const Tensor& grad, const PoolWindows& windows, const Tensor& grad_x) {
  const int64_t channels = grad_x.size(1), height = grad_x.size(2), width = grad_x.size(3);
  const int64_t image_size = height * width * channels;
  const int64_t p_size = grad.size(2), q_size = grad.size(3);
  dispatch_compute_float(grad.dtype(), "avg_pool2d_backward", [&]<class T>() {
    // Windows may overlap, but only within an image.
    parallel_for(grad_x.size(0), std::max<int64_t>(1, 16384 / std::max<int64_t>(image_size, 1)),
                 [&](int64_t begin, int64_t end) {
                   T* first = grad_x.data<T>() + begin * image_size;
                   std::fill(first, first + (end - begin) * image_size, T(0));
                   for (int64_t row = begin * p_size; row < end * p_size; ++row) {
                     T* image = grad_x.data<T>() + row / p_size * image_size;
                     const PoolWindow& rows = windows.rows[size_t(row % p_size)];
                     for (int64_t q = 0; q < q_size; ++q) {
                       const PoolWindow& columns = windows.columns[size_t(q)];
                       const T* __restrict values = grad.data<T>() + (row * q_size + q) * channels;
                       const T divisor = T(rows.divisor * columns.divisor);
                       for (int64_t h = rows.begin; h < rows.end; ++h) {
                         for (int64_t w = columns.begin; w < columns.end; ++w) {
                           T* __restrict to = image + (h * width + w) * channels;
                           for (int64_t c = 0; c < channels; ++c) to[c] += values[c] / divisor;
                         }
                       }
                     }
                   }
                 });
  });
}

}  // namespace taper::ops
