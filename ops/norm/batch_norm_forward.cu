#include <cmath>

#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/norm/relu_mask_gpu.cuh"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ kernels

constexpr int kStatisticsBlocks = 3;  // of kColumnsBlock threads on a multiprocessor
constexpr int kNormalizeBlocks = 6;

/// Mean and squared distances of each chunk of rows, x read once. A thread sums the distances of its rows
/// from the first of them, and their squares: that value is near enough to the mean for the variance not to
/// cancel, and an outlier there spoils no other thread's sums. Threads and chunks merge by Chan's formula.
/// Means count from the channel's first value in the batch, so that they keep their digits however far from
/// zero the channel lies. `partial` holds [chunks, 2, channels] and then those first values, [channels].
/// Limited by reading x, 2 bytes an element in half types and 4 in f32; 4 rows in flight for each thread.
/// Blocks are columns_launch's, their shared memory 12 KiB in half types.
template <class T, int kPack>
__global__ void __launch_bounds__(kColumnsBlock, kStatisticsBlocks)
    batch_norm_statistics(Columns size, const T* __restrict__ x, AccumulationType<T>* partial) {
  using Value = AccumulationType<T>;
  __shared__ Moments<Value> shared[kColumnsBlock / 2 * kPack];
  const int channel = size.channel<kPack>();
  const int64_t first = size.first_row(), end = size.end_row();
  Moments<Value> moments[kPack] = {};
  if (channel < size.channels && first < end) {
    Value origin[kPack], pivot[kPack], sums[kPack] = {}, squares[kPack] = {};
    load_channels(x + channel, origin);
    load_channels(x + first * size.channels + channel, pivot);
    size.for_each_row<4>(
        [&](int64_t row) {
          return *reinterpret_cast<const Pack<T, kPack>*>(x + row * size.channels + channel);
        },
        [&](int64_t, const Pack<T, kPack>& from, bool live) {
          if (!live) return;
          Value values[kPack];
          load_channels(from.values, values);
#pragma unroll
          for (int i = 0; i < kPack; ++i) {
            const Value distance = values[i] - pivot[i];
            sums[i] += distance;
            squares[i] += distance * distance;
          }
        });
    const Value count = Value((end - first + blockDim.y - 1) / blockDim.y);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const Value offset = sums[i] / count;
      moments[i].count = count;
      moments[i].mean = pivot[i] - origin[i] + offset;
      moments[i].m2 = max(squares[i] - sums[i] * offset, Value(0));
    }
    if (blockIdx.y == 0 && threadIdx.y == 0) {
      store_channels(partial + int64_t(2) * gridDim.y * size.channels + channel, origin);
    }
  }
  merge_rows(moments, shared);
  if (threadIdx.y != 0 || channel >= size.channels) return;
  Value means[kPack], m2s[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    means[i] = moments[i].mean;
    m2s[i] = moments[i].m2;
  }
  partial += int64_t(2) * blockIdx.y * size.channels + channel;
  store_channels(partial, means);
  store_channels(partial + size.channels, m2s);
}

/// A running statistic to update in place; null: none.
struct RunningStatistic {
  void* data = nullptr;
  DType dtype = kFloat32;
  int64_t stride = 1;

  __device__ void update(int channel, double value, double momentum) const {
    if (data == nullptr) return;
    dispatch_device(dtype, [&]<class Stored>() {
      Stored& running = static_cast<Stored*>(data)[channel * stride];
      const double old = device_cast<double>(running);
      running = device_cast<Stored>(old + momentum * (value - old));
    });
  }
};

/// Merges the chunks' moments, in f64: a few numbers for each channel and chunk. Block kFinishWide x
/// kFinishDeep.
template <class Value>
__global__ void __launch_bounds__(kFinishBlock)
    batch_norm_finish_statistics(Columns size, int chunks, const Value* partial, double eps, double momentum,
                                 RunningStatistic running_mean, RunningStatistic running_var,
                                 Value* save_mean, Value* save_invstd) {
  __shared__ Moments<double> shared[kFinishBlock / 2];
  const int channel = int(blockIdx.x) * kFinishWide + int(threadIdx.x);
  Moments<double> moments[1] = {};
  if (channel < size.channels) {
#pragma unroll 4
    for (int chunk = int(threadIdx.y); chunk < chunks; chunk += kFinishDeep) {
      const Value* from = partial + int64_t(2) * chunk * size.channels + channel;
      const int64_t rest = size.rows - chunk * size.rows_per_chunk;
      moments[0].merge({double(rest < size.rows_per_chunk ? rest : size.rows_per_chunk), double(from[0]),
                        double(from[size.channels])});
    }
  }
  merge_rows(moments, shared);
  if (threadIdx.y != 0 || channel >= size.channels) return;
  const double origin = double(partial[int64_t(2) * chunks * size.channels + channel]);
  const double mean = origin + moments[0].mean, rows = double(size.rows);
  save_mean[channel] = Value(mean);
  save_invstd[channel] = Value(1 / sqrt(moments[0].m2 / rows + eps));
  running_mean.update(channel, mean, momentum);
  running_var.update(channel, moments[0].m2 / (rows - 1), momentum);
}

/// The statistics and parameters of the channels.
struct Affine {
  ChannelParameter mean, spread, weight, bias;
  bool spread_is_variance;  ///< else 1 / sqrt(variance + eps)
  double eps;
};

/// y = (x - mean) * scale + bias (+ residual) (then max with 0). x, residual and y move once: 4 bytes an
/// element in half types and 8 in f32, with a residual 6 and 12; limited by that alone. With kMask the bits
/// of y > 0 besides, 1/8 byte. Blocks are columns_launch's; 4 packs in flight for each thread.
template <class T, int kPack, bool kResidual, bool kMask>
__global__ void __launch_bounds__(kColumnsBlock, 3)
    batch_norm_normalize(Columns size, const T* __restrict__ x, Affine affine, const T* __restrict__ residual,
                         bool relu, T* __restrict__ y, ReluMask mask) {
  using Value = AccumulationType<T>;
  // Lanes beyond the matrix help the others to put bytes of the mask together: they read what is inside.
  const bool inside = size.channel<kPack>() < size.channels;
  const int channel = inside ? size.channel<kPack>() : 0;
  Value mean[kPack], scale[kPack], weight[kPack], bias[kPack];
  affine.mean.load(channel, mean, Value(0));
  affine.spread.load(channel, scale, Value(1));
  affine.weight.load(channel, weight, Value(1));
  affine.bias.load(channel, bias, Value(0));
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (affine.spread_is_variance) scale[i] = Value(1) / sqrt(scale[i] + Value(affine.eps));
    scale[i] *= weight[i];
  }
  const Value least = relu ? Value(0) : Value(-INFINITY);
  struct From {
    Pack<T, kPack> x, residual;
  };
  const auto load = [&](int64_t row) {
    const int64_t at = row * size.channels + channel;
    From from;
    from.x = *reinterpret_cast<const Pack<T, kPack>*>(x + at);
    if constexpr (kResidual) from.residual = *reinterpret_cast<const Pack<T, kPack>*>(residual + at);
    return from;
  };
  size.for_each_row<kResidual ? 2 : 4>(load, [&](int64_t row, const From& from, bool live) {
    Value values[kPack], added[kPack] = {};
    load_channels(from.x.values, values);
    if constexpr (kResidual) load_channels(from.residual.values, added);
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      values[i] = normalized(values[i], mean[i], scale[i], bias[i]);
      if constexpr (kResidual) values[i] += added[i];
      values[i] = values[i] < least ? least : values[i];
      // As y's dtype rounds it: below its smallest number is 0.
      if constexpr (kMask) bits |= unsigned(device_cast<Value>(device_cast<T>(values[i])) > Value(0)) << i;
    }
    live = live && inside;
    if (live) store_channels(y + row * size.channels + channel, values);
    if constexpr (kMask) mask.store<kPack>(size.channels, row, channel, live, bits);
  });
}

// ------------------------------------------------------------------------------------------ launches

template <class T, int kPack>
void launch_normalize(const Tensor& x, const Affine& affine, const Tensor& residual, bool relu,
                      const Tensor& y, const Tensor& relu_mask) {
  const ColumnsLaunch shape = columns_launch(x, kPack, kNormalizeBlocks);
  const auto launch = [&](auto kernel) {
    gpu::launch("batch_norm_normalize", kernel, {.grid = shape.grid, .block = shape.block}, shape.size,
                static_cast<const T*>(x.data_ptr()), affine,
                residual.defined() ? static_cast<const T*>(residual.data_ptr()) : nullptr, relu,
                static_cast<T*>(y.data_ptr()), ReluMask(relu_mask));
  };
  const bool masks = relu_mask.defined();
  if (residual.defined()) {
    masks ? launch(batch_norm_normalize<T, kPack, true, true>)
          : launch(batch_norm_normalize<T, kPack, true, false>);
  } else {
    masks ? launch(batch_norm_normalize<T, kPack, false, true>)
          : launch(batch_norm_normalize<T, kPack, false, false>);
  }
}

RunningStatistic running(const Tensor& statistic) {
  if (!statistic.defined()) return {};
  return {statistic.data_ptr(), statistic.dtype(), statistic.strides()[0]};
}

const void* pointer(const Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

}  // namespace

Tensor as_columns(const Tensor& x) {
  return contiguous(x, x.dim() == 4 ? kChannelsLast : kContiguous);
}

Tensor empty_columns(const Tensor& like) {
  return empty(like.shape(), {.dtype = like.dtype(),
                              .device = like.device(),
                              .memory_format = like.dim() == 4 ? kChannelsLast : kContiguous});
}

BatchNormOutput batch_norm_training_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                        const Tensor& running_mean, const Tensor& running_var,
                                        const BatchNormOptions& options, const Tensor& residual,
                                        bool for_backward) {
  const gpu::DeviceGuard guard(x.device().index);
  const int64_t channels = x.size(1);
  const TensorOptions wide = {.dtype = compute_dtype(x.dtype()), .device = x.device()};
  const BatchNormOutput out = {empty_columns(x), empty({channels}, wide), empty({channels}, wide),
                               for_backward && options.relu
                                   ? empty(relu_mask_shape(x), {.dtype = kUInt8, .device = x.device()})
                                   : Tensor()};
  for (const Tensor& statistic : {running_mean, running_var}) {
    if (statistic.defined()) statistic.bump_version();
  }
  if (x.numel() == 0) return out;
  const Tensor pixels = as_columns(x), added = residual.defined() ? as_columns(residual) : residual;
  dispatch_channels(x.dtype(), channels, {pixels.data_ptr(), pointer(added)}, [&]<class T, int kPack>() {
    using Value = AccumulationType<T>;
    const ColumnsLaunch shape = columns_launch(pixels, kPack, kStatisticsBlocks);
    const Tensor partial = empty({2 * shape.chunks() + 1, channels}, wide);
    gpu::launch("batch_norm_statistics", batch_norm_statistics<T, kPack>,
                {.grid = shape.grid, .block = shape.block}, shape.size,
                static_cast<const T*>(pixels.data_ptr()), partial.data<Value>());
    gpu::launch("batch_norm_finish_statistics", batch_norm_finish_statistics<Value>,
                {.grid = finish_blocks(shape.size.channels), .block = dim3(kFinishWide, kFinishDeep)},
                shape.size, shape.chunks(), partial.data<Value>(), options.eps, options.momentum,
                running(running_mean), running(running_var), out.save_mean.data<Value>(),
                out.save_invstd.data<Value>());
    const ChannelRow mean(out.save_mean), invstd(out.save_invstd), scale(weight), shift(bias);
    launch_normalize<T, kPack>(pixels, {mean, invstd, scale, shift, false, 0}, added, options.relu, out.y,
                               out.relu_mask);
  });
  return out;
}

Tensor batch_norm_inference_gpu(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const Tensor& running_mean, const Tensor& running_var,
                                const BatchNormOptions& options, const Tensor& residual) {
  const gpu::DeviceGuard guard(x.device().index);
  const Tensor y = empty_columns(x);
  if (x.numel() == 0) return y;
  const Tensor pixels = as_columns(x), added = residual.defined() ? as_columns(residual) : residual;
  const ChannelRow mean(running_mean), var(running_var), scale(weight), shift(bias);
  dispatch_channels(x.dtype(), x.size(1), {pixels.data_ptr(), pointer(added)}, [&]<class T, int kPack>() {
    launch_normalize<T, kPack>(pixels, {mean, var, scale, shift, true, options.eps}, added, options.relu, y,
                               Tensor());
  });
  return y;
}

}  // namespace taper::ops
