#pragma once
// All that batch norm keeps of each channel, from values or from partial moments, on the GPU. Arguments are
// checked. All functions only enqueue, on the current stream of the current device.

#include "taper/ops/moments/batch_moments.h"

namespace taper::ops {

/// What to make of each channel's mean and variance; undefined: not wanted. All [C]; contiguous, except the
/// running statistics.
struct ChannelStatistics {
  Tensor mean = {};    ///< in the compute dtype
  Tensor var = {};     ///< in the compute dtype; biased
  Tensor invstd = {};  ///< in the compute dtype; 1 / sqrt(var + eps)
  double eps = 0;
  Tensor running_mean = {};  ///< any floating-point dtype; moved by `momentum` towards the mean
  Tensor running_var = {};   ///< any floating-point dtype; moved by `momentum` towards the unbiased variance
  double momentum = 0;
};

/// The moments of each channel over chunks of a matrix's rows, equally many in each chunk but the last.
struct PartialMoments {
  Tensor chunks;  ///< [chunks, 2, C], f32 or f64: means, then sums of squared distances from them
  int64_t rows_per_chunk = 0;
};

/// The sums of each channel's values and of their squares, whose difference may cancel: for libraries that
/// give nothing better.
struct ChannelSums {
  Tensor sum, square_sum;  ///< f32 [C]
};

/// Writes the statistics of pixels: [rows, C] or channels_last, with elements.
void channel_statistics_gpu(const Tensor& pixels, const ChannelStatistics& to);
/// Writes the statistics of a matrix with `rows` rows from its moments; moments.count, where defined, goes before
/// `rows`.
void finish_statistics_gpu(const BatchMoments& moments, int64_t rows, const ChannelStatistics& to);
void finish_statistics_gpu(const PartialMoments& moments, int64_t rows, const ChannelStatistics& to);
void finish_statistics_gpu(const ChannelSums& sums, int64_t rows, const ChannelStatistics& to);

/// See merge_moments() in merge_moments.h. `to` has all three tensors.
void merge_moments_gpu(const Tensor& parts, const BatchMoments& to);

}  // namespace taper::ops
