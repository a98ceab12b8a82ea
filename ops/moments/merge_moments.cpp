#include "taper/ops/moments/merge_moments.h"

#include <vector>

#include "taper/core/gpu/runtime.h"
#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/moments/channel_statistics_gpu.h"
#include "taper/ops/moments/chunk_moments_cpu.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

void merge_moments_cpu(const Tensor& parts, const BatchMoments& to) {
  const std::vector<double> values = to_vector<double>(parts);
  const int64_t channels = to.mean.numel(), width = 1 + 2 * channels;
  std::vector<int64_t> counts;
  double all = 0;
  for (int64_t part = 0; part < parts.size(0); ++part) {
    counts.push_back(int64_t(values[size_t(part * width)]));
    all += double(counts.back());
  }
  const ChunkMoments<double> merged(counts, channels);
  for (int64_t part = 0; part < parts.size(0); ++part) {
    const double* const row = values.data() + part * width;
    const ColumnMoments<double> chunk = merged.chunk(part);
    for (int64_t c = 0; c < channels; ++c) {
      chunk.means[c] = row[1 + c];
      chunk.squares[c] = row[1 + channels + c] * row[0];
    }
  }
  std::vector<double> mean(static_cast<size_t>(channels)), var(static_cast<size_t>(channels));
  merged.finish({mean.data(), var.data()});
  copy_(to.mean, from_vector(mean));
  copy_(to.var, from_vector(var));
  fill_(to.count, all);
}

}  // namespace

BatchMoments merge_moments(const Tensor& parts) {
  constexpr std::string_view op = "merge_moments";
  check_defined(op, "parts", parts);
  const OpCall call(op, parts);
  TAPER_CHECK(parts.dim() == 2 && parts.size(1) % 2 == 1 && parts.is_contiguous() &&
                  (parts.dtype() == kFloat32 || parts.dtype() == kFloat64),
              "{}: parts must be contiguous f32 or f64 [parts, 1 + 2 * C], got {} {}", op, parts.dtype(),
              parts.shape());
  const auto make = [&](const Shape& shape, DType dtype) {
    return empty(shape, {.dtype = dtype, .device = parts.device()});
  };
  const Shape row = {parts.size(1) / 2};
  const BatchMoments merged = {make(row, parts.dtype()), make(row, parts.dtype()), make({}, kFloat64)};
  if (parts.device().is_cuda()) {
    const gpu::DeviceGuard guard(parts.device().index);
    merge_moments_gpu(parts, merged);
  } else {
    merge_moments_cpu(parts, merged);
  }
  return merged;
}

}  // namespace taper::ops
