// The GPU's batch norm, forward: Taper's kernels for batch_norm_gpu.h.  // spine 40 (docs/0-the-spine.md)

#include "taper/ops/moments/channel_statistics_gpu.h"
#include "taper/ops/norm/batch_norm_gpu.h"
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
/// element in half types and 8 in f32, with a residual 6 and 12. With kMask also writes the bits of what the
/// ReLU lets through, 1/8 byte. Limited by memory. Blocks are columns_launch's; 4 packs in flight per thread.
template <class T, int kPack, bool kResidual, bool kMask>
__global__ void __launch_bounds__(kColumnsBlock, 3)
    batch_norm_normalize(Columns size, const T* __restrict__ x, Affine affine, const T* __restrict__ residual,
                         bool relu, T* __restrict__ y, ReluMask mask) {
  using Value = AccumulationType<T>;
  // Lanes beyond the matrix help to assemble bytes of the mask: they read elements inside.
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
      // As y's dtype rounds it: values below its smallest number are 0. NaN passes, as its gradient does.
      if constexpr (kMask)
        bits |= unsigned(!(device_cast<Value>(device_cast<T>(values[i])) <= Value(0))) << i;
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

void launch_batch_norm_training(const BatchNormCall& call) {
  const gpu::DeviceGuard guard(call.x.device().index);
  const int64_t channels = call.x.size(1);
  const ChannelStatistics statistics = {.mean = call.save_mean,
                                        .invstd = call.save_invstd,
                                        .eps = call.options.eps,
                                        .running_mean = call.running_mean,
                                        .running_var = call.running_var,
                                        .momentum = call.options.momentum};
  if (call.moments.mean.defined()) {
    finish_statistics_gpu(call.moments, call.x.numel() / channels, statistics);
  } else {
    channel_statistics_gpu(call.x, statistics);
  }
  if (call.x.numel() == 0) return;  // a part of a batch, which this rank has none of
  dispatch_channels(
      call.x.dtype(), channels, {call.x.data_ptr(), pointer(call.residual)}, [&]<class T, int kPack>() {
        const ChannelRow mean(call.save_mean), invstd(call.save_invstd), scale(call.weight), shift(call.bias);
        launch_normalize<T, kPack>(call.x, {mean, invstd, scale, shift, false, 0}, call.residual,
                                   call.options.relu, call.y, call.relu_mask);
      });
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
