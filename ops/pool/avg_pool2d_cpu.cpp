// The CPU's average pooling.

#include <algorithm>

#include "taper/core/base/parallel.h"
#include "taper/ops/compute_type.h"
#include "taper/ops/pool/pool2d_cpu.h"
#include "taper/ops/simd.h"

namespace taper::ops {
namespace {

/// Channels that are summed together, in the first-level cache.
constexpr int64_t kSumBlock = 256;

}  // namespace

void avg_pool2d_cpu(const Tensor& x, const AveragePoolAxes& axes, const Tensor& y) {
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t p_size = y.size(2), q_size = y.size(3);
  dispatch_float(x.dtype(), "avg_pool2d", [&]<class S>() {
    using T = ComputeType<S>;
    parallel_for(x.size(0) * p_size, 1, [&](int64_t begin, int64_t end) {
      T sums[kSumBlock];
      for (int64_t row = begin; row < end; ++row) {
        const S* const image = x.data<S>() + row / p_size * height * width * channels;
        const PoolWindow rows = axes.rows.window(int32_t(row % p_size));
        for (int64_t q = 0; q < q_size; ++q) {
          const PoolWindow columns = axes.columns.window(int32_t(q));
          const T divisor = T(rows.divisor * columns.divisor);
          for (int64_t c = 0; c < channels; c += kSumBlock) {
            const int64_t count = std::min(kSumBlock, channels - c);
            std::fill(sums, sums + count, T(0));
            for (int64_t h = rows.begin; h < rows.end; ++h) {
              for (int64_t w = columns.begin; w < columns.end; ++w) {
                const S* const values = image + (h * width + w) * channels + c;
                for_each_vector<T>(count,
                                   [=, &sums](auto at) { at.store(sums, at.load(sums) + at.load(values)); });
              }
            }
            S* const to = y.data<S>() + (row * q_size + q) * channels + c;
            for_each_vector<T>(count, [=, &sums](auto at) { at.store(to, at.load(sums) / divisor); });
          }
        }
      }
    });
  });
}

void avg_pool2d_backward_cpu(const Tensor& grad, const AveragePoolAxes& axes, const Tensor& grad_x) {
  const int64_t channels = grad_x.size(1), height = grad_x.size(2), width = grad_x.size(3);
  const int64_t q_size = grad.size(3), image = grad.size(2) * q_size * channels;
  if (grad_x.numel() == 0) return;
  const std::vector<SeeingWindows> rows = seeing_windows(axes.rows), columns = seeing_windows(axes.columns);
  dispatch_float(grad.dtype(), "avg_pool2d_backward", [&]<class S>() {
    using T = ComputeType<S>;
    const auto sum_windows = [&](const S* values, SeeingWindows p_seen, SeeingWindows q_seen, int64_t count,
                                 T* sums) {
      std::fill(sums, sums + count, T(0));
      for (int32_t p = p_seen.first; p <= p_seen.last; ++p) {
        for (int32_t q = q_seen.first; q <= q_seen.last; ++q) {
          const T divisor = T(axes.rows.window(p).divisor * axes.columns.window(q).divisor);
          const S* const from = values + (p * q_size + q) * channels;
          for_each_vector<T>(count,
                             [=](auto at) { at.store(sums, at.load(sums) + at.load(from) / divisor); });
        }
      }
    };
    parallel_for(grad_x.size(0) * height, std::max<int64_t>(1, 16384 / (width * channels)),
                 [&](int64_t begin, int64_t end) {
                   T sums[kSumBlock];
                   for (int64_t row = begin; row < end; ++row) {
                     const S* const values = grad.data<S>() + row / height * image;
                     S* const to = grad_x.data<S>() + row * width * channels;
                     for (int64_t c = 0; c < channels; c += kSumBlock) {
                       const int64_t count = std::min(kSumBlock, channels - c);
                       SeeingWindows summed;
                       for (int64_t w = 0; w < width; ++w) {
                         // Neighbours that the same windows see have the same gradient.
                         const SeeingWindows seen = columns[size_t(w)];
                         if (w == 0 || seen != summed)
                           sum_windows(values + c, rows[size_t(row % height)], seen, count, sums);
                         summed = seen;
                         S* const pixel = to + w * channels + c;
                         for_each_vector<T>(count, [=, &sums](auto at) { at.store(pixel, at.load(sums)); });
                       }
                     }
                   }
                 });
  });
}

}  // namespace taper::ops
