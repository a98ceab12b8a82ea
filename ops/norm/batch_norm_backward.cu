#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/norm/columns_gpu.cuh"

namespace taper::ops {
namespace {

constexpr int kSumsBlocks = 3;  // of kColumnsBlock threads on a multiprocessor
constexpr int kApplyBlocks = 8;

/// Where a kernel learns which elements the ReLU let through.
enum class Mask : uint8_t {
  kNone,         ///< all
  kOutput,       ///< y > 0
  kNormalizedX,  ///< (x - mean) * scale + bias > 0, which was y: nothing more to read
};

/// The statistics and parameters of the channels.
struct Affine {
  ChannelParameter mean, invstd, weight, bias;
};

/// Whether the forward pass's result, rounded to T, was above 0.
template <class T, class Value>
__device__ __forceinline__ bool was_positive(Value x, Value mean, Value scale, Value bias) {
  return device_cast<Value>(device_cast<T>(normalized(x, mean, scale, bias))) > Value(0);
}

// ------------------------------------------------------------------------------------------ kernels

/// The sums of g and of g * (x - mean) over each chunk of rows, where g is grad as the mask leaves it; with
/// Mask::kOutput g is stored in `masked` too, as the residual's gradient and for the second pass. Limited by
/// reading grad and x, with a residual by y and masked besides. `partial`: [chunks, 2, channels].
template <class T, int kPack, Mask kMask>
__global__ void __launch_bounds__(kColumnsBlock, kSumsBlocks)
    batch_norm_backward_sums(Columns size, const T* __restrict__ grad, const T* __restrict__ x,
                             const T* __restrict__ y, Affine affine, T* __restrict__ masked,
                             AccumulationType<T>* partial) {
  using Value = AccumulationType<T>;
  __shared__ SumPair<Value> shared[kColumnsBlock / 2 * kPack];
  const int channel = size.channel<kPack>();
  SumPair<Value> sums[kPack] = {};
  if (channel < size.channels) {
    Value mean[kPack], scale[kPack], bias[kPack];
    affine.mean.load(channel, mean, Value(0));
    if constexpr (kMask == Mask::kNormalizedX) {
      Value weight[kPack];
      affine.invstd.load(channel, scale, Value(1));
      affine.weight.load(channel, weight, Value(1));
      affine.bias.load(channel, bias, Value(0));
#pragma unroll
      for (int i = 0; i < kPack; ++i) scale[i] *= weight[i];
    }
    const int64_t end = size.end_row();
#pragma unroll 2
    for (int64_t row = size.first_row(); row < end; row += blockDim.y) {
      const int64_t at = row * size.channels + channel;
      Value g[kPack], values[kPack], result[kPack];
      load_channels(grad + at, g);
      load_channels(x + at, values);
      if constexpr (kMask == Mask::kOutput) load_channels(y + at, result);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        if constexpr (kMask == Mask::kOutput) g[i] = result[i] > Value(0) ? g[i] : Value(0);
        if constexpr (kMask == Mask::kNormalizedX)
          g[i] = was_positive<T>(values[i], mean[i], scale[i], bias[i]) ? g[i] : Value(0);
        sums[i].first += g[i];
        sums[i].second += g[i] * (values[i] - mean[i]);
      }
      if constexpr (kMask == Mask::kOutput) store_channels(masked + at, g);
    }
  }
  merge_rows(sums, shared);
  if (threadIdx.y != 0 || channel >= size.channels) return;
  Value firsts[kPack], seconds[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    firsts[i] = sums[i].first;
    seconds[i] = sums[i].second;
  }
  partial += int64_t(2) * blockIdx.y * size.channels + channel;
  store_channels(partial, firsts);
  store_channels(partial + size.channels, seconds);
}

/// Adds up the chunks' sums, in f64. Block kFinishWide x kFinishDeep.
template <class Value>
__global__ void __launch_bounds__(kFinishBlock)
    batch_norm_finish_sums(int channels, int chunks, const Value* partial, const Value* invstd,
                           Value* grad_weight, Value* grad_bias) {
  __shared__ SumPair<double> shared[kFinishBlock / 2];
  const int channel = int(blockIdx.x) * kFinishWide + int(threadIdx.x);
  SumPair<double> sums[1] = {};
  if (channel < channels) {
#pragma unroll 4
    for (int chunk = int(threadIdx.y); chunk < chunks; chunk += kFinishDeep) {
      const Value* from = partial + int64_t(2) * chunk * channels + channel;
      sums[0].merge({double(from[0]), double(from[channels])});
    }
  }
  merge_rows(sums, shared);
  if (threadIdx.y != 0 || channel >= channels) return;
  grad_bias[channel] = Value(sums[0].first);
  grad_weight[channel] = Value(sums[0].second * double(invstd[channel]));
}

/// grad_x = scale * (g - mean(g) - xhat * mean(g * xhat)) with xhat = (x - mean) * invstd. Limited by reading
/// g and x and writing grad_x.
template <class T, int kPack, Mask kMask>
__global__ void __launch_bounds__(kColumnsBlock)
    batch_norm_backward_apply(Columns size, const T* __restrict__ grad, const T* __restrict__ x,
                              Affine affine, ChannelParameter grad_weight, ChannelParameter grad_bias,
                              T* __restrict__ grad_x) {
  using Value = AccumulationType<T>;
  const int channel = size.channel<kPack>();
  if (channel >= size.channels) return;
  // grad_x = g * scale + (x - mean) * slope + shift.
  Value mean[kPack], scale[kPack], slope[kPack], shift[kPack], bias[kPack], weight[kPack];
  affine.mean.load(channel, mean, Value(0));
  affine.invstd.load(channel, scale, Value(1));
  affine.weight.load(channel, weight, Value(1));
  affine.bias.load(channel, bias, Value(0));
  grad_weight.load(channel, slope, Value(0));
  grad_bias.load(channel, shift, Value(0));
  const Value share = Value(1) / Value(size.rows);
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const Value invstd = scale[i];
    scale[i] *= weight[i];
    slope[i] *= -scale[i] * invstd * share;
    shift[i] *= -scale[i] * share;
  }
  const int64_t end = size.end_row();
#pragma unroll 2
  for (int64_t row = size.first_row(); row < end; row += blockDim.y) {
    const int64_t at = row * size.channels + channel;
    Value g[kPack], values[kPack];
    load_channels(grad + at, g);
    load_channels(x + at, values);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if constexpr (kMask == Mask::kNormalizedX)
        g[i] = was_positive<T>(values[i], mean[i], scale[i], bias[i]) ? g[i] : Value(0);
      values[i] = g[i] * scale[i] + (values[i] - mean[i]) * slope[i] + shift[i];
    }
    store_channels(grad_x + at, values);
  }
}

// ------------------------------------------------------------------------------------------ launches

/// The tensors of one call, in the layout of the kernels.
struct Pass {
  Tensor grad, x, y, masked, grad_x;
  Affine affine;
};

template <class T, int kPack, Mask kMask>
void launch_sums(const ColumnsLaunch& shape, const Pass& pass, const Tensor& partial) {
  const bool stores = kMask == Mask::kOutput;
  gpu::launch("batch_norm_backward_sums", batch_norm_backward_sums<T, kPack, kMask>,
              {.grid = shape.grid, .block = shape.block}, shape.size,
              static_cast<const T*>(pass.grad.data_ptr()), static_cast<const T*>(pass.x.data_ptr()),
              stores ? static_cast<const T*>(pass.y.data_ptr()) : nullptr, pass.affine,
              stores ? static_cast<T*>(pass.masked.data_ptr()) : nullptr,
              partial.data<AccumulationType<T>>());
}

template <class T, int kPack, Mask kMask>
void launch_apply(const Pass& pass, ChannelParameter grad_weight, ChannelParameter grad_bias) {
  const ColumnsLaunch shape = columns_launch(pass.x, kPack, kApplyBlocks);
  const Tensor& grad = pass.masked.defined() ? pass.masked : pass.grad;
  gpu::launch("batch_norm_backward_apply", batch_norm_backward_apply<T, kPack, kMask>,
              {.grid = shape.grid, .block = shape.block}, shape.size, static_cast<const T*>(grad.data_ptr()),
              static_cast<const T*>(pass.x.data_ptr()), pass.affine, grad_weight, grad_bias,
              static_cast<T*>(pass.grad_x.data_ptr()));
}

}  // namespace

BatchNormGrads batch_norm_backward_gpu(const Tensor& grad, const Tensor& x, const Tensor& y,
                                       const Tensor& weight, const Tensor& bias, const Tensor& save_mean,
                                       const Tensor& save_invstd, const BatchNormOptions& options,
                                       bool needs_residual) {
  const gpu::DeviceGuard guard(x.device().index);
  const int64_t channels = x.size(1);
  const DType wide = compute_dtype(x.dtype());
  const Mask mask = !options.relu ? Mask::kNone : y.defined() ? Mask::kOutput : Mask::kNormalizedX;
  BatchNormGrads grads;
  grads.x = empty_columns(x);
  grads.weight = empty({channels}, {.dtype = wide, .device = x.device()});
  grads.bias = empty_like(grads.weight);
  const Tensor masked = mask == Mask::kOutput ? empty_columns(x) : Tensor();
  if (needs_residual) grads.residual = masked.defined() ? masked : grad;
  if (x.numel() == 0) {
    fill_(grads.weight, 0);
    fill_(grads.bias, 0);
    return grads;
  }

  const ChannelRow mean(cast(save_mean, wide)), invstd(cast(save_invstd, wide)), scale(weight), shift(bias);
  const Pass pass = {as_columns(grad), as_columns(x), mask == Mask::kOutput ? as_columns(y) : y,
                     masked,           grads.x,       {mean, invstd, scale, shift}};
  dispatch_channels(
      x.dtype(), channels,
      {pass.grad.data_ptr(), pass.x.data_ptr(), masked.defined() ? pass.y.data_ptr() : nullptr},
      [&]<class T, int kPack>() {
        using Value = AccumulationType<T>;
        const ColumnsLaunch shape = columns_launch(pass.x, kPack, kSumsBlocks);
        const Tensor partial = empty({2 * shape.chunks(), channels}, {.dtype = wide, .device = x.device()});
        if (mask == Mask::kOutput) {
          launch_sums<T, kPack, Mask::kOutput>(shape, pass, partial);
        } else if (mask == Mask::kNormalizedX) {
          launch_sums<T, kPack, Mask::kNormalizedX>(shape, pass, partial);
        } else {
          launch_sums<T, kPack, Mask::kNone>(shape, pass, partial);
        }
        gpu::launch("batch_norm_finish_sums", batch_norm_finish_sums<Value>,
                    {.grid = finish_blocks(int(channels)), .block = dim3(kFinishWide, kFinishDeep)},
                    int(channels), shape.chunks(), partial.data<Value>(), invstd.row.data<Value>(),
                    grads.weight.data<Value>(), grads.bias.data<Value>());
        const ChannelRow grad_weight(grads.weight), grad_bias(grads.bias);
        if (mask == Mask::kNormalizedX) {
          launch_apply<T, kPack, Mask::kNormalizedX>(pass, grad_weight, grad_bias);
        } else {
          launch_apply<T, kPack, Mask::kNone>(pass, grad_weight, grad_bias);
        }
      });
  return grads;
}

}  // namespace taper::ops
