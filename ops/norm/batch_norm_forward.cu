#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/norm/channel_statistics_gpu.h"
#include "taper/ops/norm/relu_mask_gpu.cuh"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ kernels

constexpr int kNormalizeBlocks = 6;  // of kColumnsBlock threads on a multiprocessor

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
                                        bool for_backward, const BatchMoments& moments) {
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
  const ChannelStatistics statistics = {.mean = out.save_mean,
                                        .invstd = out.save_invstd,
                                        .eps = options.eps,
                                        .running_mean = running_mean,
                                        .running_var = running_var,
                                        .momentum = options.momentum};
  if (moments.mean.defined()) {
    finish_statistics_gpu(moments, x.numel() / channels, statistics);
  } else {
    channel_statistics_gpu(pixels, statistics);
  }
  dispatch_channels(x.dtype(), channels, {pixels.data_ptr(), pointer(added)}, [&]<class T, int kPack>() {
    const ChannelRow mean(out.save_mean), invstd(out.save_invstd), scale(weight), shift(bias);
    launch_normalize<T, kPack>(pixels, {mean, invstd, scale, shift, false, 0}, added, options.relu, out.y,
                               out.relu_mask);
  });
  return out;
}

void batch_moments_gpu(const Tensor& x, const BatchMoments& to) {
  const gpu::DeviceGuard guard(x.device().index);
  channel_statistics_gpu(x, {.mean = to.mean, .var = to.var});
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
