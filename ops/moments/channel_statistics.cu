// The kernels behind channel_statistics_gpu.h.

#include "taper/ops/moments/channel_statistics_gpu.h"

#include <algorithm>
#include <cmath>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/moments/columns_gpu.cuh"

namespace taper::ops {
namespace {

constexpr int kStatisticsBlocks = 3;  // of kColumnsBlock threads on a multiprocessor

/// Mean and squared distances of each chunk of rows; x is read once. A thread sums its rows' distances from
/// its first row, and their squares. That row is near enough to the mean for the variance not to cancel, and
/// an outlier there spoils no other thread's sums. Threads and chunks merge by Chan's formula. Means count
/// from the channel's first value in the batch, so that they keep their digits however far from zero the
/// channel lies. `partial` holds [chunks, 2, channels] and then those first values, [channels]. Limited by
/// reading x, 2 bytes an element in half types and 4 in f32; 4 rows in flight for each thread. Blocks are
/// columns_launch's, their shared memory 12 KiB in half types.
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
    const Value count = Value(ceil_div(end - first, blockDim.y));
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

/// ChannelStatistics for kernels; null: not wanted.
template <class Value>
struct StatisticsOutput {
  Value *mean, *var, *invstd;
  double eps;
  RunningStatistic running_mean, running_var;
  double momentum;

  /// m2: the sum of squared distances from the mean.
  __device__ void store(int channel, double average, double m2, double rows) const {
    if (mean) mean[channel] = Value(average);
    if (var) var[channel] = Value(m2 / rows);
    if (invstd) invstd[channel] = Value(1 / sqrt(m2 / rows + eps));
    running_mean.update(channel, average, momentum);
    running_var.update(channel, m2 / (rows - 1), momentum);
  }
};

/// Returns the moments of one channel over chunks begin, ..., end - 1 of partial: [chunks, 2, C], merged in
/// f64. There are a few numbers for each channel and chunk. Blocks of kFinishWide x kFinishDeep, a thread of
/// the first side for each channel; the result is in threadIdx.y == 0.
template <class Part>
__device__ __forceinline__ Moments<double> merge_chunks(Columns size, int begin, int end, int channel,
                                                        const Part* partial) {
  __shared__ Moments<double> shared[kFinishBlock / 2];
  Moments<double> moments[1] = {};
  if (channel < size.channels) {
#pragma unroll 4
    for (int chunk = begin + int(threadIdx.y); chunk < end; chunk += kFinishDeep) {
      const Part* from = partial + int64_t(2) * chunk * size.channels + channel;
      const int64_t rest = size.rows - chunk * size.rows_per_chunk;
      moments[0].merge({double(rest < size.rows_per_chunk ? rest : size.rows_per_chunk), double(from[0]),
                        double(from[size.channels])});
    }
  }
  merge_rows(moments, shared);
  return moments[0];
}

/// Merges chunks [blockIdx.y * at_once, ...) into one, so that the next kernel has few left. Grid (channels /
/// kFinishWide, chunks / at_once).
template <class Part>
__global__ void __launch_bounds__(kFinishBlock)
    merge_moments(Columns size, int chunks, int at_once, const Part* partial, double* merged) {
  const int channel = int(blockIdx.x) * kFinishWide + int(threadIdx.x), begin = int(blockIdx.y) * at_once;
  const Moments<double> moments = merge_chunks(size, begin, min(chunks, begin + at_once), channel, partial);
  if (threadIdx.y != 0 || channel >= size.channels) return;
  merged += int64_t(2) * blockIdx.y * size.channels + channel;
  merged[0] = moments.mean;
  merged[size.channels] = moments.m2;
}

/// Merges all chunks and stores the statistics. origin: [C], where means start, or null. Grid: C /
/// kFinishWide.
template <class Part, class Value>
__global__ void __launch_bounds__(kFinishBlock)
    batch_norm_finish_statistics(Columns size, int chunks, const Part* partial, const Part* origin,
                                 StatisticsOutput<Value> to) {
  const int channel = int(blockIdx.x) * kFinishWide + int(threadIdx.x);
  const Moments<double> moments = merge_chunks(size, 0, chunks, channel, partial);
  if (threadIdx.y != 0 || channel >= size.channels) return;
  to.store(channel, (origin ? double(origin[channel]) : 0.0) + moments.mean, moments.m2, double(size.rows));
}

/// Stores the statistics from moments of the whole batch. count: its rows if they are known on the GPU alone, else
/// null. A thread for each channel.
template <class Value>
__global__ void __launch_bounds__(kFinishBlock)
    batch_norm_use_moments(int64_t rows, const double* count, int channels, const Value* mean,
                           const Value* var, StatisticsOutput<Value> to) {
  const int channel = int(blockIdx.x) * kFinishBlock + int(threadIdx.x);
  if (channel >= channels) return;
  const double values = count ? *count : double(rows);
  to.store(channel, double(mean[channel]), double(var[channel]) * values, values);
}

/// Stores the statistics from sums. Their difference in f64 loses no more than the sums have lost already.
__global__ void __launch_bounds__(kFinishBlock)
    batch_norm_use_sums(int64_t rows, int channels, const float* sum, const float* square_sum,
                        StatisticsOutput<float> to) {
  const int channel = int(blockIdx.x) * kFinishBlock + int(threadIdx.x);
  if (channel >= channels) return;
  const double total = double(sum[channel]), mean = total / double(rows);
  to.store(channel, mean, max(double(square_sum[channel]) - total * mean, 0.0), double(rows));
}

/// Merges rows of a number of values, means and variances (merge_moments.h). A thread for each channel; limited by
/// the launch.
template <class Value>
__global__ void __launch_bounds__(kFinishBlock)
    merge_batch_moments(int parts, int channels, const Value* rows, Value* mean, Value* var, double* count) {
  const int channel = int(blockIdx.x) * kFinishBlock + int(threadIdx.x);
  if (channel >= channels) return;
  Moments<double> moments = {};
  for (int part = 0; part < parts; ++part, rows += 1 + 2 * int64_t(channels)) {
    const double values = double(rows[0]);
    moments.merge({values, double(rows[1 + channel]), double(rows[1 + channels + channel]) * values});
  }
  mean[channel] = Value(moments.mean);
  var[channel] = Value(moments.m2 / moments.count);
  if (channel == 0) *count = moments.count;
}

// ------------------------------------------------------------------------------------------ launches

RunningStatistic running(const Tensor& statistic) {
  if (!statistic.defined()) return {};
  return {statistic.data_ptr(), statistic.dtype(), statistic.strides()[0]};
}

template <class Value>
StatisticsOutput<Value> output_of(const ChannelStatistics& to) {
  const auto data = [](const Tensor& x) { return x.defined() ? x.data<Value>() : nullptr; };
  return {data(to.mean),           data(to.var), data(to.invstd), to.eps, running(to.running_mean),
          running(to.running_var), to.momentum};
}

template <class Part, class Value>
void launch_finish(const Columns& size, int chunks, const Part* partial, const Part* origin,
                   const StatisticsOutput<Value>& to) {
  gpu::launch("batch_norm_finish_statistics", batch_norm_finish_statistics<Part, Value>,
              {.grid = finish_blocks(size.channels), .block = dim3(kFinishWide, kFinishDeep)}, size, chunks,
              partial, origin, to);
}

/// Calls body.operator()<Value>() with float or double.
template <class Body>
void dispatch_value(DType dtype, Body&& body) {
  dtype == kFloat64 ? body.template operator()<double>() : body.template operator()<float>();
}

}  // namespace

void channel_statistics_gpu(const Tensor& pixels, const ChannelStatistics& to) {
  const int64_t channels = pixels.size(1);
  dispatch_channels(pixels.dtype(), channels, {pixels.data_ptr()}, [&]<class T, int kPack>() {
    using Value = AccumulationType<T>;
    const ColumnsLaunch shape = columns_launch(pixels, kPack, kStatisticsBlocks);
    const Tensor partial =
        empty({2 * shape.chunks() + 1, channels}, {.dtype = dtype_of<Value>, .device = pixels.device()});
    Value* const moments = partial.data<Value>();
    gpu::launch("batch_norm_statistics", batch_norm_statistics<T, kPack>,
                {.grid = shape.grid, .block = shape.block}, shape.size,
                static_cast<const T*>(pixels.data_ptr()), moments);
    launch_finish<Value, Value>(shape.size, shape.chunks(), moments, moments + 2 * shape.chunks() * channels,
                                output_of<Value>(to));
  });
}

void finish_statistics_gpu(const ChannelSums& sums, int64_t rows, const ChannelStatistics& to) {
  const int64_t channels = sums.sum.size(0);
  gpu::launch("batch_norm_use_sums", batch_norm_use_sums,
              {.grid = unsigned(ceil_div(channels, kFinishBlock)), .block = dim3(kFinishBlock)}, rows,
              int(channels), sums.sum.data<float>(), sums.square_sum.data<float>(), output_of<float>(to));
}

void finish_statistics_gpu(const BatchMoments& moments, int64_t rows, const ChannelStatistics& to) {
  const int64_t channels = moments.mean.size(0);
  dispatch_value(moments.mean.dtype(), [&]<class Value>() {
    gpu::launch("batch_norm_use_moments", batch_norm_use_moments<Value>,
                {.grid = unsigned(ceil_div(channels, kFinishBlock)), .block = dim3(kFinishBlock)}, rows,
                moments.count.defined() ? moments.count.data<double>() : nullptr, int(channels),
                moments.mean.data<Value>(), moments.var.data<Value>(), output_of<Value>(to));
  });
}

void finish_statistics_gpu(const PartialMoments& moments, int64_t rows, const ChannelStatistics& to) {
  constexpr int64_t kEnough = 512, kAtOnce = 256, kMostBlocks = 1024;
  const int64_t chunks = moments.chunks.size(0), channels = moments.chunks.size(2);
  const Columns size = {rows, moments.rows_per_chunk, int(channels)};
  dispatch_value(moments.chunks.dtype(), [&]<class Value>() {
    const Value* const partial = moments.chunks.data<Value>();
    const StatisticsOutput<Value> output = output_of<Value>(to);
    if (chunks <= kEnough) return launch_finish<Value, Value>(size, int(chunks), partial, nullptr, output);
    const int64_t at_once = std::max(kAtOnce, ceil_div(chunks, kMostBlocks));
    const int64_t left = ceil_div(chunks, at_once);
    const Tensor merged = empty({left, 2, channels}, {.dtype = kFloat64, .device = moments.chunks.device()});
    gpu::launch(
        "merge_moments", merge_moments<Value>,
        {.grid = dim3(finish_blocks(size.channels), unsigned(left)), .block = dim3(kFinishWide, kFinishDeep)},
        size, int(chunks), int(at_once), partial, merged.data<double>());
    launch_finish<double, Value>({rows, size.rows_per_chunk * at_once, size.channels}, int(left),
                                 merged.data<double>(), nullptr, output);
  });
}

void merge_moments_gpu(const Tensor& parts, const BatchMoments& to) {
  const int64_t channels = to.mean.size(0);
  if (channels == 0) return fill_(to.count, 0);
  dispatch_value(parts.dtype(), [&]<class Value>() {
    gpu::launch("merge_batch_moments", merge_batch_moments<Value>,
                {.grid = unsigned(ceil_div(channels, kFinishBlock)), .block = dim3(kFinishBlock)},
                int(parts.size(0)), int(channels), parts.data<Value>(), to.mean.data<Value>(),
                to.var.data<Value>(), to.count.data<double>());
  });
}

}  // namespace taper::ops
