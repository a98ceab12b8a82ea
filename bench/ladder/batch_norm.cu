// The ladder of batch normalisation: y = relu(batch_norm(x) + residual), the end of a residual block, from
// one block for each channel to the kernels that ship.
//
//   ladder_batch_norm [--size ROWS] [--json FILE]
//
// x is an image batch in channels_last memory: an f32 matrix with one row for each pixel and one column for
// each channel. Each number takes only a few operations, so memory limits the speed. The statistics need all
// of x before the first result can be written, so x is read twice, residual once, and y written once. The
// table's GB/s count these bytes, whatever a rung really moves.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/ladder/ladder.h"
#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/norm/batch_norm.h"
#include "taper/ops/reduce/block_reduce.cuh"

using namespace taper;

namespace {

constexpr unsigned kBlock = 256;
constexpr float kEps = 1e-5f;

// ------------------------------------------------------------------------------------------ rung 1

/// One block for each channel: the mean, then the variance, then the result.
__global__ void normalize_channel(const float* x, float* y, int64_t rows, int channels) {
  const int channel = int(blockIdx.x);
  float sum = 0, squares = 0;
  for (int64_t row = threadIdx.x; row < rows; row += blockDim.x) sum += x[row * channels + channel];
  const float mean = ops::block_reduce(sum, ops::fold::Sum()) / float(rows);
  for (int64_t row = threadIdx.x; row < rows; row += blockDim.x) {
    const float distance = x[row * channels + channel] - mean;
    squares += distance * distance;
  }
  const float invstd = rsqrtf(ops::block_reduce(squares, ops::fold::Sum()) / float(rows) + kEps);
  for (int64_t row = threadIdx.x; row < rows; row += blockDim.x) {
    y[row * channels + channel] = (x[row * channels + channel] - mean) * invstd;
  }
}

__global__ void add_to(float* y, const float* residual, int64_t count) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < count) y[i] += residual[i];
}

__global__ void clamp_at_zero(float* y, int64_t count) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < count) y[i] = max(y[i], 0.0f);
}

// ------------------------------------------------------------------------------------------ rung 2

constexpr int kWide = 32;  // channels of a block: a warp reads 128 bytes in one piece
constexpr int kDeep = 8;   // rows of a block

/// Sums, for each chunk of rows and each channel, x, or with `mean` given (x - mean)^2.
__global__ void sum_columns(const float* x, const float* mean, float* partial, int64_t rows,
                            int64_t per_chunk, int channels) {
  __shared__ float sums[kDeep][kWide];
  const int channel = int(blockIdx.x) * kWide + int(threadIdx.x);
  const int64_t end = min(rows, (blockIdx.y + 1) * per_chunk);
  float sum = 0;
  if (channel < channels) {
    const float center = mean != nullptr ? mean[channel] : 0.0f;
    for (int64_t row = blockIdx.y * per_chunk + threadIdx.y; row < end; row += kDeep) {
      const float value = x[row * channels + channel] - center;
      sum += mean != nullptr ? value * value : value;
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int i = 1; i < kDeep; ++i) sum += sums[i][threadIdx.x];
  partial[int64_t(blockIdx.y) * channels + channel] = sum;
}

/// One thread for each channel adds up the chunks and writes the mean, or for squares 1 / sqrt(variance +
/// eps).
__global__ void finish_columns(const float* partial, int chunks, int64_t rows, int channels, bool squares,
                               float* result) {
  const int channel = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (channel >= channels) return;
  float sum = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) sum += partial[int64_t(chunk) * channels + channel];
  result[channel] = squares ? rsqrtf(sum / float(rows) + kEps) : sum / float(rows);
}

__global__ void normalize(const float* x, const float* mean, const float* invstd, float* y, int64_t count,
                          int channels) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const int channel = int(i % channels);
  y[i] = (x[i] - mean[channel]) * invstd[channel];
}

// ------------------------------------------------------------------------------------------ rung 3

/// Count, mean and sum of squared distances. Adds a number by Welford's formula, and a group by Chan's.
struct Moments {
  float count, mean, m2;

  __device__ void add(float value) {
    count += 1;
    const float before = value - mean;
    mean += before / count;
    m2 += before * (value - mean);
  }
  __device__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const float total = count + other.count, share = other.count / total, delta = other.mean - mean;
    mean += delta * share;
    m2 += other.m2 + delta * delta * count * share;
    count = total;
  }
};

/// Writes the moments of each chunk of rows, in one pass over x.
__global__ void welford_columns(const float* x, Moments* partial, int64_t rows, int64_t per_chunk,
                                int channels) {
  __shared__ Moments groups[kDeep][kWide];
  const int channel = int(blockIdx.x) * kWide + int(threadIdx.x);
  const int64_t end = min(rows, (blockIdx.y + 1) * per_chunk);
  Moments moments = {};
  if (channel < channels) {
    for (int64_t row = blockIdx.y * per_chunk + threadIdx.y; row < end; row += kDeep) {
      moments.add(x[row * channels + channel]);
    }
  }
  groups[threadIdx.y][threadIdx.x] = moments;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int i = 1; i < kDeep; ++i) moments.merge(groups[i][threadIdx.x]);
  partial[int64_t(blockIdx.y) * channels + channel] = moments;
}

__global__ void finish_welford(const Moments* partial, int chunks, int channels, float* mean, float* invstd) {
  const int channel = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (channel >= channels) return;
  Moments moments = partial[channel];
  for (int chunk = 1; chunk < chunks; ++chunk) moments.merge(partial[int64_t(chunk) * channels + channel]);
  mean[channel] = moments.mean;
  invstd[channel] = rsqrtf(moments.m2 / moments.count + kEps);
}

// ------------------------------------------------------------------------------------------ rung 4

__global__ void normalize_add_clamp(const float* x, const float* mean, const float* invstd,
                                    const float* residual, float* y, int64_t count, int channels) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const int channel = int(i % channels);
  y[i] = max((x[i] - mean[channel]) * invstd[channel] + residual[i], 0.0f);
}

// ------------------------------------------------------------------------------------------ the climb

/// The tensors that all rungs work on. Each function is a step that several rungs share.
struct Task {
  int64_t rows;
  int channels;
  Tensor x, residual;  ///< [rows, channels] f32, on the GPU
  Tensor y = empty_like(x), mean = per_channel(1), invstd = per_channel(1);
  int chunks = 0;
  int64_t per_chunk = 0;
  Tensor partial;

  Task(int64_t rows_, int channels_, const Tensor& x_, const Tensor& residual_)
      : rows(rows_), channels(channels_), x(x_), residual(residual_) {
    const int64_t wanted = int64_t(gpu::properties().multiprocessors) * 8 / int64_t(strips());
    per_chunk = std::max<int64_t>(kDeep, rows / std::max<int64_t>(wanted, 1));
    chunks = int(ceil_div(rows, per_chunk));
    partial = per_channel(3 * chunks);
  }

  Tensor per_channel(int64_t count) const {
    return empty({count, channels}, {.dtype = kFloat32, .device = Device("cuda")});
  }
  unsigned strips() const { return unsigned(ceil_div(channels, kWide)); }
  unsigned blocks(int64_t threads) const { return unsigned(ceil_div(threads, kBlock)); }
  gpu::LaunchConfig columns() const {
    return {.grid = dim3(strips(), unsigned(chunks)), .block = dim3(kWide, kDeep)};
  }

  void add_and_clamp() const {
    const gpu::LaunchConfig all = {.grid = blocks(x.numel()), .block = kBlock};
    gpu::launch("add_to", add_to, all, y.data<float>(), residual.data<float>(), x.numel());
    gpu::launch("clamp_at_zero", clamp_at_zero, all, y.data<float>(), x.numel());
  }
  void statistics_in_two_passes() const {
    for (const bool squares : {false, true}) {
      gpu::launch("sum_columns", sum_columns, columns(), x.data<float>(),
                  squares ? mean.data<float>() : nullptr, partial.data<float>(), rows, per_chunk, channels);
      gpu::launch("finish_columns", finish_columns, {.grid = blocks(channels), .block = kBlock},
                  partial.data<float>(), chunks, rows, channels, squares,
                  (squares ? invstd : mean).data<float>());
    }
  }
  void statistics_in_one_pass() const {
    auto* moments = static_cast<Moments*>(partial.data_ptr());
    gpu::launch("welford_columns", welford_columns, columns(), x.data<float>(), moments, rows, per_chunk,
                channels);
    gpu::launch("finish_welford", finish_welford, {.grid = blocks(channels), .block = kBlock}, moments,
                chunks, channels, mean.data<float>(), invstd.data<float>());
  }
  void normalize_all() const {
    gpu::launch("normalize", normalize, {.grid = blocks(x.numel()), .block = kBlock}, x.data<float>(),
                mean.data<float>(), invstd.data<float>(), y.data<float>(), x.numel(), channels);
  }
  void normalize_add_and_clamp() const {
    gpu::launch("normalize_add_clamp", normalize_add_clamp, {.grid = blocks(x.numel()), .block = kBlock},
                x.data<float>(), mean.data<float>(), invstd.data<float>(), residual.data<float>(),
                y.data<float>(), x.numel(), channels);
  }
};

/// Returns the result in f64, computed on the host.
std::vector<double> expected_result(const Task& task) {
  const std::vector<double> x = ops::to_vector<double>(task.x),
                            residual = ops::to_vector<double>(task.residual);
  const size_t channels = size_t(task.channels);
  std::vector<double> mean(channels), var(channels), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) mean[i % channels] += x[i] / double(task.rows);
  for (size_t i = 0; i < x.size(); ++i) {
    const double distance = x[i] - mean[i % channels];
    var[i % channels] += distance * distance / double(task.rows);
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const double normalized = (x[i] - mean[i % channels]) / std::sqrt(var[i % channels] + double(kEps));
    y[i] = std::max(normalized + residual[i], 0.0);
  }
  return y;
}

/// Returns numbers that repeat only after a prime number of elements, so that channels differ.
Tensor numbers(int64_t rows, int64_t channels, int64_t step) {
  std::vector<float> values(size_t(rows * channels));
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(int64_t(i) * step % 1009) / 504.5f - 0.7f;
  return ops::to_device(from_vector(values, {rows, channels}), Device("cuda"));
}

ladder::Ladder make_ladder(int64_t rows) {
  const int channels = gpu::is_simulated() ? 40 : 256;
  const auto task =
      std::make_shared<Task>(rows, channels, numbers(rows, channels, 617), numbers(rows, channels, 389));
  const auto expected = std::make_shared<const std::vector<double>>(expected_result(*task));
  const double size_bytes = double(task->x.size_bytes());
  // As a share of 1e-4, the allowed error of f32 sums over so many rows. Poisons y for the next rung.
  const auto error = [=] {
    const std::vector<double> y = ops::to_vector<double>(task->y);
    double worst = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double off = std::fabs(y[i] - (*expected)[i]);
      worst = std::isnan(off) ? INFINITY : std::max(worst, off / 1e-4);
    }
    ops::fill_(task->y, NAN);
    return worst;
  };
  const auto rung = [=](const char* name, const char* change, double times_size, std::function<void()> run) {
    return ladder::Rung{name, change, std::move(run), error, 4 * size_bytes, times_size / 4};
  };
  return {.title = fmt::format("relu(batch_norm(x) + residual), {} rows of {} channels", rows, channels),
          .unit = "GB/s",
          .unit_size = 1e9,
          .rungs = {
              {"copy", "the measure: what memory can do, reading and writing as much",
               [=] { ops::copy_(task->y, task->x); },
               [=] { return ops::to_vector<float>(task->y) == ops::to_vector<float>(task->x) ? 0 : 2; },
               2 * size_bytes, 1},
              rung("channel per block",
                   "each block reads its channel three times, 4 bytes of every 32 that memory delivers",
                   4 * 8 + 5,
                   [=] {
                     gpu::launch("normalize_channel", normalize_channel,
                                 {.grid = unsigned(task->channels), .block = kBlock}, task->x.data<float>(),
                                 task->y.data<float>(), task->rows, task->channels);
                     task->add_and_clamp();
                   }),
              rung("side by side",
                   "neighbouring threads take neighbouring channels: a warp reads 128 bytes in one piece", 9,
                   [=] {
                     task->statistics_in_two_passes();
                     task->normalize_all();
                     task->add_and_clamp();
                   }),
              rung("one pass", "Welford: mean and variance from one reading of x", 8,
                   [=] {
                     task->statistics_in_one_pass();
                     task->normalize_all();
                     task->add_and_clamp();
                   }),
              rung("fused", "add and clamp while the number is in a register: y is written once", 4,
                   [=] {
                     task->statistics_in_one_pass();
                     task->normalize_add_and_clamp();
                   }),
              rung("shipped", "16 bytes a thread, parameters kept in registers down the rows, no division", 4,
                   [=] {
                     task->y = ops::batch_norm_training(task->x, {}, {}, {}, {}, {.eps = kEps, .relu = true},
                                                        task->residual)
                                   .y;
                   }),
          }};
}

}  // namespace

int main(int argc, char** argv) {
  // ResNet-50's first stage for 64 images, 205 MB; far smaller where threads are simulated.
  return ladder::climb(argc, argv, {.simulated = 500, .hardware = 64 * 56 * 56, .multiple = 4}, make_ladder);
}
