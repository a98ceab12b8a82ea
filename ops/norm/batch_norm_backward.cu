// The GPU's batch norm, backward: Taper's kernels for batch_norm_gpu.h.

#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/norm/relu_mask_gpu.cuh"

namespace taper::ops {
namespace {

constexpr int kSumsBlocks = 3;  // of kColumnsBlock threads on a multiprocessor
constexpr int kApplyBlocks = 8;

/// What the first pass does to grad.
enum class Masking : uint8_t {
  kNone,   ///< nothing: there was no ReLU
  kReads,  ///< takes what the mask's bits let through; so does the second pass
  kStores  ///< like kReads, and stores it as the residual's gradient; the second pass reads that
};

/// The statistics and parameters of the channels.
struct Affine {
  ChannelParameter mean, invstd, weight;
};

/// What both passes read at one row.
template <class T, int kPack>
struct Row {
  Pack<T, kPack> grad, x;
  unsigned passed;

  /// g = grad where the mask's bit is set, else 0.
  template <class Value>
  __device__ __forceinline__ void unpack(Value (&g)[kPack], Value (&values)[kPack]) const {
    load_channels(grad.values, g);
    load_channels(x.values, values);
#pragma unroll
    for (int i = 0; i < kPack; ++i) g[i] = passed >> i & 1 ? g[i] : Value(0);
  }
};

template <class T, int kPack, bool kMask>
__device__ __forceinline__ Row<T, kPack> load_row(const Columns& size, int64_t row, int channel,
                                                  const T* __restrict__ grad, const T* __restrict__ x,
                                                  const ReluMask& mask) {
  const int64_t at = row * size.channels + channel;
  return {*reinterpret_cast<const Pack<T, kPack>*>(grad + at),
          *reinterpret_cast<const Pack<T, kPack>*>(x + at),
          kMask ? mask.load(size.channels, row, channel) : ~0u};
}

// ------------------------------------------------------------------------------------------ kernels

/// The sums of g and of g * (x - mean) over each chunk of rows, where g is grad after the mask. Reads grad
/// and x, 4 bytes an element in half types and 8 in f32, and 1/8 byte of mask. Masking::kStores also writes g
/// to `masked`, 2 or 4 bytes more. Limited by memory. 2 rows in flight for each thread: the sums and their
/// merging in shared memory (8 KiB in half types) leave no registers for more. Blocks are columns_launch's.
/// `partial`: [chunks, 2, channels].
template <class T, int kPack, Masking kMasking>
__global__ void __launch_bounds__(kColumnsBlock, kSumsBlocks)
    batch_norm_backward_sums(Columns size, const T* __restrict__ grad, const T* __restrict__ x,
                             const ReluMask mask, Affine affine, T* __restrict__ masked,
                             AccumulationType<T>* partial) {
  using Value = AccumulationType<T>;
  __shared__ SumPair<Value> shared[kColumnsBlock / 2 * kPack];
  const int channel = size.channel<kPack>();
  SumPair<Value> sums[kPack] = {};
  if (channel < size.channels) {
    Value mean[kPack];
    affine.mean.load(channel, mean, Value(0));
    const auto load = [&](int64_t row) {
      return load_row<T, kPack, kMasking != Masking::kNone>(size, row, channel, grad, x, mask);
    };
    size.for_each_row<2>(load, [&](int64_t row, const Row<T, kPack>& from, bool live) {
      if (!live) return;
      Value g[kPack], values[kPack];
      from.unpack(g, values);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        sums[i].first += g[i];
        sums[i].second += g[i] * (values[i] - mean[i]);
      }
      if constexpr (kMasking == Masking::kStores) store_channels(masked + row * size.channels + channel, g);
    });
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

/// Adds up the chunks' sums in f64. Limited by the launch: a few numbers for each channel and chunk. Block
/// kFinishWide x kFinishDeep, a thread of the first side for each channel.
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

/// grad_x = scale * (g - mean(g) - xhat * mean(g * xhat)) with xhat = (x - mean) * invstd. Reads g and x and
/// writes grad_x, 6 bytes an element in half types and 12 in f32. With kMask `grad` is g before the mask, and
/// the mask takes 1/8 byte more. `count`: values a
/// channel of the whole batch; null: as many as there are rows. Limited by memory. Blocks are
/// columns_launch's.
template <class T, int kPack, bool kMask>
__global__ void __launch_bounds__(kColumnsBlock, 4)
    batch_norm_backward_apply(Columns size, const T* __restrict__ grad, const T* __restrict__ x,
                              const ReluMask mask, Affine affine, ChannelParameter grad_weight,
                              ChannelParameter grad_bias, const double* count, T* __restrict__ grad_x) {
  using Value = AccumulationType<T>;
  const int channel = size.channel<kPack>();
  if (channel >= size.channels) return;
  // grad_x = g * scale + (x - mean) * slope + shift.
  Value mean[kPack], scale[kPack], slope[kPack], shift[kPack], weight[kPack];
  affine.mean.load(channel, mean, Value(0));
  affine.invstd.load(channel, scale, Value(1));
  affine.weight.load(channel, weight, Value(1));
  grad_weight.load(channel, slope, Value(0));
  grad_bias.load(channel, shift, Value(0));
  const Value share = Value(1) / (count ? Value(*count) : Value(size.rows));
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const Value invstd = scale[i];
    scale[i] *= weight[i];
    slope[i] *= -scale[i] * invstd * share;
    shift[i] *= -scale[i] * share;
  }
  const auto load = [&](int64_t row) { return load_row<T, kPack, kMask>(size, row, channel, grad, x, mask); };
  size.for_each_row<2>(load, [&](int64_t row, const Row<T, kPack>& from, bool live) {
    if (!live) return;
    Value g[kPack], values[kPack];
    from.unpack(g, values);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      values[i] = g[i] * scale[i] + (values[i] - mean[i]) * slope[i] + shift[i];
    }
    store_channels(grad_x + row * size.channels + channel, values);
  });
}

/// Writes 1 for every set bit, else 0. Reads 1/8 byte an element and writes its size; limited by memory.
/// Blocks are columns_launch's.
template <class T, int kPack>
__global__ void __launch_bounds__(kColumnsBlock)
    relu_mask_unpack(Columns size, const ReluMask mask, T* __restrict__ out) {
  using Value = AccumulationType<T>;
  const int channel = size.channel<kPack>();
  if (channel >= size.channels) return;
  size.for_each_row<4>([&](int64_t row) { return mask.load(size.channels, row, channel); },
                       [&](int64_t row, unsigned passed, bool live) {
                         if (!live) return;
                         Value values[kPack];
#pragma unroll
                         for (int i = 0; i < kPack; ++i) values[i] = Value(passed >> i & 1);
                         store_channels(out + row * size.channels + channel, values);
                       });
}

// ------------------------------------------------------------------------------------------ launches

/// The channels' rows of a call; they live as long as the launches.
struct AffineRows {
  ChannelRow mean, invstd, weight;

  explicit AffineRows(const BatchNormBackwardCall& call)
      : mean(call.save_mean), invstd(call.save_invstd), weight(call.weight) {}
  operator Affine() const { return {mean, invstd, weight}; }
};

template <class T, int kPack, Masking kMasking>
void launch_sums(const ColumnsLaunch& shape, const BatchNormBackwardCall& call, const Affine& affine,
                 const Tensor& partial) {
  const Tensor& masked = call.grad_residual;
  gpu::launch(
      "batch_norm_backward_sums", batch_norm_backward_sums<T, kPack, kMasking>,
      {.grid = shape.grid, .block = shape.block}, shape.size, static_cast<const T*>(call.grad.data_ptr()),
      static_cast<const T*>(call.x.data_ptr()), ReluMask(call.relu_mask), affine,
      masked.defined() ? static_cast<T*>(masked.data_ptr()) : nullptr, partial.data<AccumulationType<T>>());
}

template <class T, int kPack>
void launch_first_pass(const BatchNormBackwardCall& call, const AffineRows& rows) {
  using Value = AccumulationType<T>;
  const int64_t channels = call.x.size(1);
  const ColumnsLaunch shape = columns_launch(call.x, kPack, kSumsBlocks);
  const Tensor partial =
      empty({2 * shape.chunks(), channels}, {.dtype = call.grad_weight.dtype(), .device = call.x.device()});
  if (!call.relu_mask.defined()) {
    launch_sums<T, kPack, Masking::kNone>(shape, call, rows, partial);
  } else if (call.grad_residual.defined()) {
    launch_sums<T, kPack, Masking::kStores>(shape, call, rows, partial);
  } else {
    launch_sums<T, kPack, Masking::kReads>(shape, call, rows, partial);
  }
  gpu::launch("batch_norm_finish_sums", batch_norm_finish_sums<Value>,
              {.grid = finish_blocks(int(channels)), .block = dim3(kFinishWide, kFinishDeep)}, int(channels),
              shape.chunks(), partial.data<Value>(), rows.invstd.row.data<Value>(),
              call.grad_weight.data<Value>(), call.grad_bias.data<Value>());
}

template <class T, int kPack, bool kMask>
void launch_apply(const BatchNormBackwardCall& call, const Affine& affine, const Tensor& count) {
  const ColumnsLaunch shape = columns_launch(call.x, kPack, kApplyBlocks);
  const Tensor& grad = call.grad_residual.defined() ? call.grad_residual : call.grad;
  const ChannelRow grad_weight(call.grad_weight), grad_bias(call.grad_bias);
  gpu::launch("batch_norm_backward_apply", batch_norm_backward_apply<T, kPack, kMask>,
              {.grid = shape.grid, .block = shape.block}, shape.size, static_cast<const T*>(grad.data_ptr()),
              static_cast<const T*>(call.x.data_ptr()), ReluMask(call.relu_mask), affine, grad_weight,
              grad_bias, count.defined() ? count.data<double>() : nullptr,
              static_cast<T*>(call.grad_x.data_ptr()));
}

template <class T, int kPack>
void launch_second_pass(const BatchNormBackwardCall& call, const AffineRows& rows, const Tensor& count) {
  if (call.relu_mask.defined() && !call.grad_residual.defined()) {
    launch_apply<T, kPack, true>(call, rows, count);
  } else {
    launch_apply<T, kPack, false>(call, rows, count);
  }
}

/// Calls passes.operator()<T, kPack>(rows) on the call's device.
template <class Passes>
void launch_passes(const BatchNormBackwardCall& call, Passes&& passes) {
  const gpu::DeviceGuard guard(call.x.device().index);
  const AffineRows rows(call);
  dispatch_channels(call.x.dtype(), call.x.size(1), {call.grad.data_ptr(), call.x.data_ptr()},
                    [&]<class T, int kPack>() { passes.template operator()<T, kPack>(rows); });
}

}  // namespace

void launch_batch_norm_backward(const BatchNormBackwardCall& call) {
  launch_passes(call, [&]<class T, int kPack>(const AffineRows& rows) {
    launch_first_pass<T, kPack>(call, rows);
    launch_second_pass<T, kPack>(call, rows, {});
  });
}

void launch_batch_norm_backward_sums(const BatchNormBackwardCall& call) {
  launch_passes(call,
                [&]<class T, int kPack>(const AffineRows& rows) { launch_first_pass<T, kPack>(call, rows); });
}

void launch_batch_norm_backward_input(const BatchNormBackwardCall& call, const Tensor& count) {
  launch_passes(call, [&]<class T, int kPack>(const AffineRows& rows) {
    launch_second_pass<T, kPack>(call, rows, count);
  });
}

Tensor unpack_relu_mask_gpu(const Tensor& relu_mask, const Tensor& x) {
  const gpu::DeviceGuard guard(x.device().index);
  const Tensor out = empty_columns(x);
  if (x.numel() == 0) return out;
  dispatch_channels(x.dtype(), x.size(1), {}, [&]<class T, int kPack>() {
    const ColumnsLaunch shape = columns_launch(out, kPack, kApplyBlocks);
    gpu::launch("relu_mask_unpack", relu_mask_unpack<T, kPack>, {.grid = shape.grid, .block = shape.block},
                shape.size, ReluMask(relu_mask), static_cast<T*>(out.data_ptr()));
  });
  return out;
}

}  // namespace taper::ops
