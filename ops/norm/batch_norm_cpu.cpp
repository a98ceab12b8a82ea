// An image batch in channels_last memory is a matrix with one row for each pixel and one column for each  // spine 34 (docs/0-the-spine.md)
// channel. Statistics run down the columns; their sums are doubles.

#include "taper/ops/norm/batch_norm_cpu.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/norm/masked_rows_cpu.h"

namespace taper::ops {
namespace {

struct PixelMatrix {
  int64_t rows = 0;
  int64_t channels = 0;

  /// Bytes of a row of the ReLU's mask.
  int64_t mask_bytes() const { return (channels + 7) / 8; }
};

/// Elements of one piece of work. The cut depends on the sizes alone, and so do rounding errors.
constexpr int64_t kChunkElements = int64_t(1) << 15;

int64_t rows_per_chunk(PixelMatrix size) {
  return std::max<int64_t>(1, kChunkElements / std::max<int64_t>(size.channels, 1));
}

/// Two sums per channel over all rows: add_rows.operator()<kRows>(row, first, second) adds kRows rows, one
/// after the other. Four at a time, because sums in double are more traffic within a core than the rows. Each
/// chunk of rows has sums of its own, which are then added in order.
template <class AddRows>
void sum_rows(PixelMatrix size, double* first, double* second, AddRows&& add_rows) {
  const int64_t channels = size.channels, step = rows_per_chunk(size);
  const int64_t chunks = ceil_div(size.rows, step);
  const Scratch<double> partial(2 * chunks * channels);
  parallel_chunks(chunks, [&](int64_t chunk) {
    double* chunk_first = partial.data() + 2 * chunk * channels;
    std::fill(chunk_first, chunk_first + 2 * channels, 0.0);
    const int64_t end = std::min(size.rows, (chunk + 1) * step);
    int64_t row = chunk * step;
    for (; row + 4 <= end; row += 4)
      add_rows.template operator()<4>(row, chunk_first, chunk_first + channels);
    for (; row < end; ++row) add_rows.template operator()<1>(row, chunk_first, chunk_first + channels);
  });
  std::fill(first, first + channels, 0.0);
  std::fill(second, second + channels, 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const double* chunk_first = partial.data() + 2 * chunk * channels;
    for (int64_t c = 0; c < channels; ++c) first[c] += chunk_first[c];
    for (int64_t c = 0; c < channels; ++c) second[c] += chunk_first[channels + c];
  }
}

template <class Body>
void for_each_row(PixelMatrix size, Body&& body) {
  parallel_for(size.rows, rows_per_chunk(size), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

/// Whether to store past the caches: results are large, and their vectors are aligned.
template <class T>
bool streams(PixelMatrix size) {
  return size.rows * size.channels * int64_t(sizeof(T)) >= kStreamBytes &&
         size.channels % Simd<T>::kLanes == 0;
}

/// Calls body with a compile-time bool, so that the loop inside has no branch.
template <class Body>
void with_flag(bool flag, Body&& body) {
  if (flag) {
    body(std::true_type());
  } else {
    body(std::false_type());
  }
}

/// Writes mean[c] and the biased variance var[c], each of `channels` elements.
template <class T>
void batch_statistics(PixelMatrix size, const T* x, double* mean, double* var) {
  // Sums of (x - shift) and its square. The shift is the channel's first value: close enough to the mean that
  // the difference of squares below does not cancel.
  const std::vector<double> shift(x, x + (size.rows > 0 ? size.channels : 0));
  sum_rows(size, mean, var, [&]<int kRows>(int64_t row, double* __restrict sums, double* __restrict squares) {
    const int64_t channels = size.channels;
    const T* __restrict values = x + row * channels;
    const double* __restrict origin = shift.data();
    for (int64_t c = 0; c < channels; ++c) {
      double sum = sums[c], square = squares[c];
      for (int i = 0; i < kRows; ++i) {
        const double difference = double(values[i * channels + c]) - origin[c];
        sum += difference;
        square += difference * difference;
      }
      sums[c] = sum;
      squares[c] = square;
    }
  });
  const double count = double(size.rows);
  for (int64_t c = 0; c < size.channels; ++c) {
    const double offset = mean[c] / count;
    var[c] = std::max(0.0, var[c] / count - offset * offset);
    mean[c] = shift[size_t(c)] + offset;
  }
}

/// y = (x - mean) * scale + shift (+ residual) (then max with 0). residual and mask may be null. mask
/// receives the bits of lanes_let_through.
template <class T>
void normalize(PixelMatrix size, const T* x, const T* mean, const T* scale, const T* shift, const T* residual,
               bool relu, T* y, uint8_t* mask) {
  const bool stream = streams<T>(size);
  with_flag(residual != nullptr, [&](auto has_residual) {
    with_flag(relu, [&](auto has_relu) {
      for_each_row(size, [&](int64_t row) {
        const int64_t offset = row * size.channels;
        uint8_t* const bits = mask ? mask + row * size.mask_bytes() : nullptr;
        write_row(y + offset, size.channels, stream, bits, [&](auto at) {
          auto value = (at.load(x + offset) - at.load(mean)) * at.load(scale) + at.load(shift);
          if constexpr (has_residual) value += at.load(residual + offset);
          if constexpr (has_relu) value = value < T(0) ? decltype(value){} : value;
          return value;
        });
      });
    });
  });
}

/// What backward reads of the pixels. masked_grad is written unless it is null. Without a ReLU, mask is null.
template <class T>
struct BackwardPixels {
  const T *grad, *x, *mean;
  const uint8_t* mask;
  T* masked_grad;
};

/// sum_grad[c] = sum of g and sum_grad_x[c] = sum of g * (x - mean), where g is grad where the mask is 1,
/// else 0. Writes g to masked_grad.
template <class T>
void backward_sums(PixelMatrix size, const BackwardPixels<T>& in, double* sum_grad, double* sum_grad_x) {
  using Doubles = Simd<double>;
  constexpr int64_t kLanes = Simd<T>::kLanes;
  with_flag(in.mask != nullptr, [&](auto has_relu) {
    with_flag(in.masked_grad != nullptr, [&](auto keep) {
      sum_rows(size, sum_grad, sum_grad_x, [&]<int kRows>(int64_t first_row, double* sums, double* sums_x) {
        // Copies: the compiler must assume that stores could change what a reference refers to.
        const int64_t channels = size.channels, offset = first_row * channels, mask_bytes = size.mask_bytes();
        const T *const grad = in.grad + offset, *const x = in.x + offset, *const mean = in.mean;
        const uint8_t* const mask = has_relu ? in.mask + first_row * mask_bytes : nullptr;
        T* const masked_grad = keep ? in.masked_grad + offset : nullptr;
        const auto gradient = [=](auto at, int row) {
          auto g = at.load(grad + row * channels);
          if constexpr (has_relu) g = at.let_through(mask + row * mask_bytes, g);
          return g;
        };
        int64_t c = 0;
        for (; c + kLanes <= channels; c += kLanes) {
          const VectorAt<T> at{c};
          const auto centre = at.load(mean);
          const auto for_each_part = [&](auto&& visit) {
            [&]<size_t... kPart>(std::index_sequence<kPart...>) {
              (visit.template operator()<kPart>(c + int64_t(kPart) * Doubles::kLanes), ...);
            }
            (std::make_index_sequence<size_t(kLanes / Doubles::kLanes)>());
          };
          Doubles::Vector sum[2], sum_x[2];
          for_each_part([&]<size_t kPart>(int64_t channel) {
            sum[kPart] = Doubles::load(sums + channel);
            sum_x[kPart] = Doubles::load(sums_x + channel);
          });
          for (int row = 0; row < kRows; ++row) {
            const auto g = gradient(at, row);
            if constexpr (keep) Simd<T>::store(masked_grad + row * channels + c, g);
            const auto distance = at.load(x + row * channels) - centre;
            for_each_part([&]<size_t kPart>(int64_t) {
              const Doubles::Vector wide = widened<T, kPart>(g);
              sum[kPart] += wide;
              sum_x[kPart] += wide * widened<T, kPart>(distance);
            });
          }
          for_each_part([&]<size_t kPart>(int64_t channel) {
            Doubles::store(sums + channel, sum[kPart]);
            Doubles::store(sums_x + channel, sum_x[kPart]);
          });
        }
        for (; c < channels; ++c) {
          for (int row = 0; row < kRows; ++row) {
            const T g = gradient(ScalarAt<T>{c}, row);
            if constexpr (keep) masked_grad[row * channels + c] = g;
            sums[c] += double(g);
            sums_x[c] += double(g) * double(x[row * channels + c] - mean[c]);
          }
        }
      });
    });
  });
}

/// grad_x = g * a + (x - mean) * b + c, with one a, b, c per channel, and g as in backward_sums().
template <class T>
void backward_apply(PixelMatrix size, const BackwardPixels<T>& in, const T* a, const T* b, const T* c,
                    T* grad_x) {
  const bool stream = streams<T>(size);
  with_flag(in.mask != nullptr, [&](auto has_relu) {
    for_each_row(size, [=](int64_t row) {
      const int64_t offset = row * size.channels;
      const T *const grad = in.grad + offset, *const x = in.x + offset, *const mean = in.mean;
      const uint8_t* const mask = has_relu ? in.mask + row * size.mask_bytes() : nullptr;
      write_row(grad_x + offset, size.channels, stream, nullptr, [=](auto at) {
        auto g = at.load(grad);
        if constexpr (has_relu) g = at.let_through(mask, g);
        return g * at.load(a) + (at.load(x) - at.load(mean)) * at.load(b) + at.load(c);
      });
    });
  });
}

PixelMatrix pixel_matrix(const Tensor& x) {
  const int64_t channels = x.size(1);
  return {channels == 0 ? 0 : x.numel() / channels, channels};
}

/// Returns x as the kernels read it: in the compute dtype, channels innermost.
Tensor as_pixels(const Tensor& x) {
  return contiguous(cast(x, compute_dtype(x.dtype())), x.dim() == 4 ? kChannelsLast : kContiguous);
}

Tensor empty_pixels(const Tensor& like) {
  return empty(like.shape(), {.dtype = compute_dtype(like.dtype()),
                              .device = like.device(),
                              .memory_format = like.dim() == 4 ? kChannelsLast : kContiguous});
}

template <class T>
std::vector<T> per_channel(const Tensor& parameter, int64_t channels, T if_undefined) {
  return parameter.defined() ? to_vector<T>(parameter) : std::vector<T>(size_t(channels), if_undefined);
}

/// running = (1 - momentum) * running + momentum * value.
void update_running(const Tensor& running, const std::vector<double>& value, double momentum) {
  std::vector<double> updated = to_vector<double>(running);
  for (size_t c = 0; c < updated.size(); ++c) updated[c] += momentum * (value[c] - updated[c]);
  copy_(running, from_vector(updated, running.shape()));
}

template <class T>
Tensor apply(const Tensor& x, const std::vector<T>& mean, const std::vector<T>& invstd, const Tensor& weight,
             const Tensor& bias, const BatchNormOptions& options, const Tensor& residual,
             const Tensor& relu_mask = {}) {
  const PixelMatrix size = pixel_matrix(x);
  std::vector<T> scale = per_channel<T>(weight, size.channels, 1);
  const std::vector<T> shift = per_channel<T>(bias, size.channels, 0);
  for (size_t c = 0; c < scale.size(); ++c) scale[c] *= invstd[c];
  const Tensor pixels = as_pixels(x), residual_pixels = residual.defined() ? as_pixels(residual) : residual;
  const Tensor y = empty_pixels(x);
  normalize<T>(size, pixels.data<T>(), mean.data(), scale.data(), shift.data(),
               residual.defined() ? residual_pixels.data<T>() : nullptr, options.relu, y.data<T>(),
               relu_mask.defined() ? relu_mask.data<uint8_t>() : nullptr);
  return cast(y, x.dtype());
}

}  // namespace

BatchNormOutput batch_norm_training_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments) {
  const PixelMatrix size = pixel_matrix(x);
  return dispatch_compute_float(compute_dtype(x.dtype()), "batch_norm", [&]<class T>() -> BatchNormOutput {
    std::vector<double> mean(size_t(size.channels)), var(size_t(size.channels));
    if (moments.mean.defined()) {
      mean = to_vector<double>(moments.mean);
      var = to_vector<double>(moments.var);
    } else {
      batch_statistics<T>(size, as_pixels(x).data<T>(), mean.data(), var.data());
    }
    std::vector<T> save_mean(mean.begin(), mean.end()), save_invstd(var.size());
    for (size_t c = 0; c < var.size(); ++c) save_invstd[c] = T(1 / std::sqrt(var[c] + options.eps));
    if (running_mean.defined()) {
      const double unbiased = double(size.rows) / double(size.rows - 1);
      for (double& value : var) value *= unbiased;
      update_running(running_mean, mean, options.momentum);
      update_running(running_var, var, options.momentum);
    }
    const Tensor relu_mask =
        for_backward && options.relu ? empty(relu_mask_shape(x), {.dtype = kUInt8}) : Tensor();
    return {apply<T>(x, save_mean, save_invstd, weight, bias, options, residual, relu_mask),
            from_vector(save_mean), from_vector(save_invstd), relu_mask};
  });
}

void batch_moments_cpu(const Tensor& x, const BatchMoments& to) {
  const PixelMatrix size = pixel_matrix(x);
  std::vector<double> mean(size_t(size.channels)), var(size_t(size.channels));
  dispatch_compute_float(to.mean.dtype(), "batch_moments", [&]<class T>() {
    batch_statistics<T>(size, as_pixels(x).data<T>(), mean.data(), var.data());
    std::copy(mean.begin(), mean.end(), to.mean.data<T>());
    std::copy(var.begin(), var.end(), to.var.data<T>());
  });
}

Tensor batch_norm_inference_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual) {
  return dispatch_compute_float(compute_dtype(x.dtype()), "batch_norm", [&]<class T>() {
    std::vector<T> invstd = to_vector<T>(running_var);
    for (T& value : invstd) value = T(1 / std::sqrt(double(value) + options.eps));
    return apply<T>(x, to_vector<T>(running_mean), invstd, weight, bias, options, residual);
  });
}

BatchNormGrads batch_norm_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual) {
  const PixelMatrix size = pixel_matrix(x);
  return dispatch_compute_float(compute_dtype(x.dtype()), "batch_norm", [&]<class T>() -> BatchNormGrads {
    const Tensor pixels = as_pixels(x), grad_pixels = as_pixels(grad);
    // The residual's gradient is the masked gradient; the second pass reads it.
    const Tensor masked = needs_residual && options.relu ? empty_pixels(x) : Tensor();
    const std::vector<T> mean = to_vector<T>(save_mean);
    std::vector<double> sum_grad(mean.size()), sum_grad_x(mean.size());
    BackwardPixels<T> in = {.grad = grad_pixels.data<T>(),
                            .x = pixels.data<T>(),
                            .mean = mean.data(),
                            .mask = options.relu ? relu_mask.data<uint8_t>() : nullptr,
                            .masked_grad = masked.defined() ? masked.data<T>() : nullptr};
    backward_sums<T>(size, in, sum_grad.data(), sum_grad_x.data());
    if (masked.defined()) {
      in.grad = masked.data<T>();
      in.mask = nullptr;
    }

    // grad_x = scale * (g - mean(g) - xhat * mean(g * xhat)) with xhat = (x - mean) * invstd.
    const std::vector<double> invstd = to_vector<double>(save_invstd);
    const std::vector<double> scale = per_channel<double>(weight, size.channels, 1);
    const double rows = double(size.rows);
    std::vector<T> a(mean.size()), b(mean.size()), c(mean.size()), grad_weight(mean.size());
    for (size_t i = 0; i < mean.size(); ++i) {
      a[i] = T(scale[i] * invstd[i]);
      b[i] = T(-scale[i] * invstd[i] * invstd[i] * invstd[i] * sum_grad_x[i] / rows);
      c[i] = T(-scale[i] * invstd[i] * sum_grad[i] / rows);
      grad_weight[i] = T(sum_grad_x[i] * invstd[i]);
    }
    const Tensor grad_x = empty_pixels(x);
    backward_apply<T>(size, in, a.data(), b.data(), c.data(), grad_x.data<T>());
    const std::vector<T> grad_bias(sum_grad.begin(), sum_grad.end());
    return {cast(grad_x, x.dtype()), from_vector(grad_weight), from_vector(grad_bias),
            needs_residual ? cast(masked.defined() ? masked : grad, x.dtype()) : Tensor()};
  });
}

Tensor unpack_relu_mask_cpu(const Tensor& relu_mask, const Tensor& x) {
  const PixelMatrix size = pixel_matrix(x);
  const Tensor result = empty_pixels(x);
  dispatch_compute_float(result.dtype(), "unpack_relu_mask", [&]<class T>() {
    for_each_row(size, [&](int64_t row) {
      const uint8_t* const bits = relu_mask.data<uint8_t>() + row * size.mask_bytes();
      T* const to = result.data<T>() + row * size.channels;
      for (int64_t c = 0; c < size.channels; ++c) to[c] = T(bits[c / 8] >> c % 8 & 1);
    });
  });
  return cast(result, x.dtype());
}

}  // namespace taper::ops
