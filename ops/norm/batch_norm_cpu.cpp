// An image batch in channels_last memory is a matrix with one row for each pixel and one column for each  // spine 34 (docs/0-the-spine.md)
// channel. Statistics run down the columns; their sums are doubles.

#include "taper/ops/norm/batch_norm_cpu.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/compute_type.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/norm/double_sums_cpu.h"
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

/// Rows that are added one after the other, because sums in double are more traffic than the rows.
constexpr int64_t kRowsAtOnce = 16;

/// Fetches what a later call of add_rows() below reads first: no prefetcher follows as many rows at once.
template <class S>
void prefetch_later_row(const S* element, int64_t channels) {
  __builtin_prefetch(element + kRowsAtOnce * channels);
}

/// Two sums per channel over all rows: add_rows(row, count, first, second) adds `count` rows, at most
/// kRowsAtOnce. Each chunk of rows has sums of its own, which are then added in order.
template <class AddRows>
void sum_rows(PixelMatrix size, double* first, double* second, AddRows&& add_rows) {
  const int64_t channels = size.channels, step = rows_per_chunk(size);
  const int64_t chunks = ceil_div(size.rows, step);
  const Scratch<double> partial(2 * chunks * channels);
  parallel_chunks(chunks, [&](int64_t chunk) {
    double* chunk_first = partial.data() + 2 * chunk * channels;
    std::fill(chunk_first, chunk_first + 2 * channels, 0.0);
    const int64_t end = std::min(size.rows, (chunk + 1) * step);
    for (int64_t row = chunk * step; row < end; row += kRowsAtOnce)
      add_rows(row, std::min(kRowsAtOnce, end - row), chunk_first, chunk_first + channels);
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
template <class S>
bool streams(PixelMatrix size) {
  return size.rows * size.channels * int64_t(sizeof(S)) >= kStreamBytes &&
         size.channels % Simd<ComputeType<S>>::kLanes == 0;
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
template <class S>
void batch_statistics(PixelMatrix size, const S* x, double* mean, double* var) {
  using T = ComputeType<S>;
  // Sums of (x - shift) and its square. The shift is the channel's first value: close enough to the mean that
  // the difference of squares below does not cancel.
  std::vector<double> shift(size_t(size.channels), 0.0);
  if (size.rows > 0) std::copy(x, x + size.channels, shift.begin());
  sum_rows(size, mean, var, [&](int64_t row, int64_t count, double* sums, double* squares) {
    const int64_t channels = size.channels;
    const S* const values = x + row * channels;
    const double* const origin = shift.data();
    const auto prefetch = [=](int64_t c, int64_t i) {
      prefetch_later_row(values + i * channels + c, channels);
    };
    for_each_vector<T>(channels, [=](auto at) {
      if constexpr (std::is_same_v<S, T>) {
        for_each_part(at, [=](auto part) {
          auto sum = part.load(sums), square = part.load(squares);
          for (int64_t i = 0; i < count; ++i) {
            prefetch(part.i, i);
            const auto difference = part.widened(at.load(values + i * channels)) - part.load(origin);
            sum += difference;
            square += difference * difference;
          }
          part.store(sums, sum);
          part.store(squares, square);
        });
      } else {  // a few rows in T, from their first, and then all in double
        typename decltype(at)::Value sum{}, square{};
        const auto first = at.load(values);
        for (int64_t i = 1; i < count; ++i) {
          prefetch(at.i, i);
          const auto difference = at.load(values + i * channels) - first;
          sum += difference;
          square += difference * difference;
        }
        for_each_part(at, [=](auto part) {
          const auto distance = part.widened(first) - part.load(origin), wide_sum = part.widened(sum);
          const auto moved = distance * double(count);
          part.store(sums, part.load(sums) + wide_sum + moved);
          part.store(squares, part.load(squares) + part.widened(square) + distance * (2 * wide_sum + moved));
        });
      }
    });
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
template <class S, class T>
void normalize(PixelMatrix size, const S* x, const T* mean, const T* scale, const T* shift, const S* residual,
               bool relu, S* y, uint8_t* mask) {
  const bool stream = streams<S>(size);
  with_flag(residual != nullptr, [&](auto has_residual) {
    with_flag(relu, [&](auto has_relu) {
      for_each_row(size, [&](int64_t row) {
        const int64_t offset = row * size.channels;
        uint8_t* const bits = mask ? mask + row * size.mask_bytes() : nullptr;
        write_row<T>(y + offset, size.channels, stream, bits, [&](auto at) {
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
template <class S>
struct BackwardPixels {
  const S *grad, *x;
  const ComputeType<S>* mean;
  const uint8_t* mask;
  S* masked_grad;
};

/// sum_grad[c] = sum of g and sum_grad_x[c] = sum of g * (x - mean), where g is grad where the mask is 1,
/// else 0. Writes g to masked_grad.
template <class S>
void backward_sums(PixelMatrix size, const BackwardPixels<S>& in, double* sum_grad, double* sum_grad_x) {
  using T = ComputeType<S>;
  with_flag(in.mask != nullptr, [&](auto has_relu) {
    with_flag(in.masked_grad != nullptr, [&](auto keep) {
      sum_rows(size, sum_grad, sum_grad_x, [&](int64_t row, int64_t count, double* sums, double* sums_x) {
        // Copies: the compiler must assume that stores could change what a reference refers to.
        const int64_t channels = size.channels, offset = row * channels, mask_bytes = size.mask_bytes();
        const S *const grad = in.grad + offset, *const x = in.x + offset;
        const T* const mean = in.mean;
        const uint8_t* const mask = has_relu ? in.mask + row * mask_bytes : nullptr;
        S* const masked_grad = keep ? in.masked_grad + offset : nullptr;
        for_each_vector<T>(channels, [=](auto at) {
          using At = decltype(at);
          using Sum = std::conditional_t<std::is_same_v<S, T>, DoubleSum<At>, FewInSingle<At>>;
          const auto centre = at.load(mean);
          Sum sum(at, sums), sum_x(at, sums_x);
          for (int64_t i = 0; i < count; ++i) {
            prefetch_later_row(grad + i * channels + at.i, channels);
            prefetch_later_row(x + i * channels + at.i, channels);
            auto g = at.load(grad + i * channels);
            if constexpr (has_relu) g = let_through(at, mask + i * mask_bytes, g);
            if constexpr (keep) at.store(masked_grad + i * channels, g);
            sum.add(g);
            sum_x.add_product(g, at.load(x + i * channels) - centre);
          }
          sum.store(sums);
          sum_x.store(sums_x);
        });
      });
    });
  });
}

/// grad_x = g * a + (x - mean) * b + c, with one a, b, c per channel, and g as in backward_sums().
template <class S, class T>
void backward_apply(PixelMatrix size, const BackwardPixels<S>& in, const T* a, const T* b, const T* c,
                    S* grad_x) {
  const bool stream = streams<S>(size);
  with_flag(in.mask != nullptr, [&](auto has_relu) {
    for_each_row(size, [=](int64_t row) {
      const int64_t offset = row * size.channels;
      const S *const grad = in.grad + offset, *const x = in.x + offset;
      const T* const mean = in.mean;
      const uint8_t* const mask = has_relu ? in.mask + row * size.mask_bytes() : nullptr;
      write_row<T>(grad_x + offset, size.channels, stream, nullptr, [=](auto at) {
        auto g = at.load(grad);
        if constexpr (has_relu) g = let_through(at, mask, g);
        return g * at.load(a) + (at.load(x) - at.load(mean)) * at.load(b) + at.load(c);
      });
    });
  });
}

PixelMatrix pixel_matrix(const Tensor& x) {
  const int64_t channels = x.size(1);
  return {channels == 0 ? 0 : x.numel() / channels, channels};
}

/// Returns how many values a channel of the batch has: `count`, or if that is undefined, as many as x.
double count_of(const Tensor& count, PixelMatrix size) {
  return count.defined() ? item<double>(count) : double(size.rows);
}

/// Returns x as the kernels read it: channels innermost.
Tensor as_pixels(const Tensor& x) {
  return contiguous(x, x.dim() == 4 ? kChannelsLast : kContiguous);
}

Tensor empty_pixels(const Tensor& like) {
  return empty(like.shape(), {.dtype = like.dtype(),
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

template <class S, class T = ComputeType<S>>
Tensor apply(const Tensor& x, const std::vector<T>& mean, const std::vector<T>& invstd, const Tensor& weight,
             const Tensor& bias, const BatchNormOptions& options, const Tensor& residual,
             const Tensor& relu_mask = {}) {
  const PixelMatrix size = pixel_matrix(x);
  std::vector<T> scale = per_channel<T>(weight, size.channels, 1);
  const std::vector<T> shift = per_channel<T>(bias, size.channels, 0);
  for (size_t c = 0; c < scale.size(); ++c) scale[c] *= invstd[c];
  const Tensor pixels = as_pixels(x), residual_pixels = residual.defined() ? as_pixels(residual) : residual;
  const Tensor y = empty_pixels(x);
  normalize<S>(size, pixels.data<S>(), mean.data(), scale.data(), shift.data(),
               residual.defined() ? residual_pixels.data<S>() : nullptr, options.relu, y.data<S>(),
               relu_mask.defined() ? relu_mask.data<uint8_t>() : nullptr);
  return y;
}

/// `mean` must outlive the result. relu_mask, masked_grad: may be undefined.
template <class S>
BackwardPixels<S> backward_pixels(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                  const std::vector<ComputeType<S>>& mean, const Tensor& masked_grad = {}) {
  return {.grad = grad.data<S>(),
          .x = x.data<S>(),
          .mean = mean.data(),
          .mask = relu_mask.defined() ? relu_mask.data<uint8_t>() : nullptr,
          .masked_grad = masked_grad.defined() ? masked_grad.data<S>() : nullptr};
}

/// What the first pass of backward finds: the sums of backward_sums() and the gradients made of them. The
/// residual's is defined only if it differs from grad.
struct FirstPass {
  std::vector<double> sum_grad, sum_grad_x;
  BatchNormGrads grads;
};

/// grad, x: as the kernels read them. relu_mask: undefined without a ReLU.
template <class S>
FirstPass first_pass(const Tensor& grad, const Tensor& x, const Tensor& relu_mask, const Tensor& save_mean,
                     const Tensor& save_invstd, bool needs_residual) {
  using T = ComputeType<S>;
  const std::vector<T> mean = to_vector<T>(save_mean);
  const std::vector<double> invstd = to_vector<double>(save_invstd);
  // The residual's gradient is the masked gradient; the second pass reads it.
  const Tensor masked = needs_residual && relu_mask.defined() ? empty_pixels(x) : Tensor();
  FirstPass result = {std::vector<double>(mean.size()), std::vector<double>(mean.size()), {}};
  backward_sums(pixel_matrix(x), backward_pixels<S>(grad, x, relu_mask, mean, masked), result.sum_grad.data(),
                result.sum_grad_x.data());
  std::vector<T> grad_weight(mean.size());
  for (size_t i = 0; i < mean.size(); ++i) grad_weight[i] = T(result.sum_grad_x[i] * invstd[i]);
  const std::vector<T> grad_bias(result.sum_grad.begin(), result.sum_grad.end());
  result.grads = {{}, from_vector(grad_weight), from_vector(grad_bias), masked};
  return result;
}

/// Returns x's gradient from sums over a batch of `count` rows. grad, x: as the kernels read them. relu_mask:
/// undefined without a ReLU, and where grad is what it let through.
template <class S>
Tensor second_pass(const Tensor& grad, const Tensor& x, const Tensor& relu_mask, const Tensor& weight,
                   const Tensor& save_mean, const Tensor& save_invstd, const std::vector<double>& sum_grad,
                   const std::vector<double>& sum_grad_x, double count) {
  using T = ComputeType<S>;
  const PixelMatrix size = pixel_matrix(x);
  // grad_x = scale * (g - mean(g) - xhat * mean(g * xhat)) with xhat = (x - mean) * invstd.
  const std::vector<T> mean = to_vector<T>(save_mean);
  const std::vector<double> invstd = to_vector<double>(save_invstd);
  const std::vector<double> scale = per_channel<double>(weight, size.channels, 1);
  std::vector<T> a(mean.size()), b(mean.size()), c(mean.size());
  for (size_t i = 0; i < mean.size(); ++i) {
    a[i] = T(scale[i] * invstd[i]);
    b[i] = T(-scale[i] * invstd[i] * invstd[i] * invstd[i] * sum_grad_x[i] / count);
    c[i] = T(-scale[i] * invstd[i] * sum_grad[i] / count);
  }
  const Tensor grad_x = empty_pixels(x);
  backward_apply(size, backward_pixels<S>(grad, x, relu_mask, mean), a.data(), b.data(), c.data(),
                 grad_x.data<S>());
  return grad_x;
}

}  // namespace

BatchNormOutput batch_norm_training_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward, const BatchMoments& moments) {
  const PixelMatrix size = pixel_matrix(x);
  return dispatch_float(x.dtype(), "batch_norm", [&]<class S>() -> BatchNormOutput {
    using T = ComputeType<S>;
    std::vector<double> mean(size_t(size.channels)), var(size_t(size.channels));
    if (moments.mean.defined()) {
      mean = to_vector<double>(moments.mean);
      var = to_vector<double>(moments.var);
    } else {
      batch_statistics(size, as_pixels(x).data<S>(), mean.data(), var.data());
    }
    std::vector<T> save_mean(mean.begin(), mean.end()), save_invstd(var.size());
    for (size_t c = 0; c < var.size(); ++c) save_invstd[c] = T(1 / std::sqrt(var[c] + options.eps));
    if (running_mean.defined()) {
      const double count = count_of(moments.count, size), unbiased = count / (count - 1);
      for (double& value : var) value *= unbiased;
      update_running(running_mean, mean, options.momentum);
      update_running(running_var, var, options.momentum);
    }
    const Tensor relu_mask =
        for_backward && options.relu ? empty(relu_mask_shape(x), {.dtype = kUInt8}) : Tensor();
    return {apply<S>(x, save_mean, save_invstd, weight, bias, options, residual, relu_mask),
            from_vector(save_mean), from_vector(save_invstd), relu_mask};
  });
}

void batch_moments_cpu(const Tensor& x, const BatchMoments& to) {
  const PixelMatrix size = pixel_matrix(x);
  std::vector<double> mean(size_t(size.channels)), var(size_t(size.channels));
  dispatch_float(x.dtype(), "batch_moments", [&]<class S>() {
    batch_statistics(size, as_pixels(x).data<S>(), mean.data(), var.data());
    std::copy(mean.begin(), mean.end(), to.mean.data<ComputeType<S>>());
    std::copy(var.begin(), var.end(), to.var.data<ComputeType<S>>());
  });
}

Tensor batch_norm_inference_cpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual) {
  return dispatch_float(x.dtype(), "batch_norm", [&]<class S>() {
    using T = ComputeType<S>;
    std::vector<T> invstd = to_vector<T>(running_var);
    for (T& value : invstd) value = T(1 / std::sqrt(double(value) + options.eps));
    return apply<S>(x, to_vector<T>(running_mean), invstd, weight, bias, options, residual);
  });
}

BatchNormGrads batch_norm_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                       const Tensor& weight, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual) {
  const Tensor pixels = as_pixels(x), grad_pixels = as_pixels(grad),
               mask = options.relu ? relu_mask : Tensor();
  return dispatch_float(x.dtype(), "batch_norm", [&]<class S>() -> BatchNormGrads {
    FirstPass first = first_pass<S>(grad_pixels, pixels, mask, save_mean, save_invstd, needs_residual);
    BatchNormGrads& grads = first.grads;
    const bool masked = grads.residual.defined();
    grads.x = second_pass<S>(masked ? grads.residual : grad_pixels, pixels, masked ? Tensor() : mask, weight,
                             save_mean, save_invstd, first.sum_grad, first.sum_grad_x,
                             count_of({}, pixel_matrix(x)));
    if (needs_residual && !masked) grads.residual = grad;
    return grads;
  });
}

BatchNormGrads batch_norm_backward_sums_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                            const Tensor& save_mean, const Tensor& save_invstd,
                                            const BatchNormOptions& options, bool needs_residual) {
  return dispatch_float(x.dtype(), "batch_norm", [&]<class S>() -> BatchNormGrads {
    BatchNormGrads grads = first_pass<S>(as_pixels(grad), as_pixels(x), options.relu ? relu_mask : Tensor(),
                                         save_mean, save_invstd, needs_residual)
                               .grads;
    if (needs_residual && !grads.residual.defined()) grads.residual = grad;
    return grads;
  });
}

Tensor batch_norm_backward_input_cpu(const Tensor& grad, const Tensor& x, const Tensor& relu_mask,
                                     const Tensor& weight, const Tensor& save_mean, const Tensor& save_invstd,
                                     const Tensor& grad_weight, const Tensor& grad_bias,
                                     const Tensor& count) {
  return dispatch_float(x.dtype(), "batch_norm", [&]<class S>() {
    const std::vector<double> invstd = to_vector<double>(save_invstd);
    std::vector<double> sum_grad_x = to_vector<double>(grad_weight);
    for (size_t c = 0; c < invstd.size(); ++c) sum_grad_x[c] /= invstd[c];
    return second_pass<S>(as_pixels(grad), as_pixels(x), relu_mask, weight, save_mean, save_invstd,
                          to_vector<double>(grad_bias), sum_grad_x, count_of(count, pixel_matrix(x)));
  });
}

Tensor unpack_relu_mask_cpu(const Tensor& relu_mask, const Tensor& x) {
  const PixelMatrix size = pixel_matrix(x);
  const Tensor result = empty_pixels(x);
  dispatch_float(x.dtype(), "unpack_relu_mask", [&]<class S>() {
    for_each_row(size, [&](int64_t row) {
      const uint8_t* const bits = relu_mask.data<uint8_t>() + row * size.mask_bytes();
      S* const to = result.data<S>() + row * size.channels;
      for (int64_t c = 0; c < size.channels; ++c) to[c] = S(float(bits[c / 8] >> c % 8 & 1));
    });
  });
  return result;
}

}  // namespace taper::ops
