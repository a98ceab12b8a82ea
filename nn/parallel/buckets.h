#pragma once
// How gradients are put together into buckets. DistributedDataParallel does it, and bench/scaling_model.cpp foretells
// what that costs. PyTorch's counterpart: compute_bucket_assignment_by_size in torch/csrc/distributed/c10d/reducer.cpp.

#include <cstdint>
#include <optional>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"

namespace taper {

struct DataParallelOptions {
  int64_t bucket_bytes = 25 << 20;       ///< of gradients in a bucket, at least one parameter's
  int64_t first_bucket_bytes = 1 << 20;  ///< of the first one, so that it goes early
  /// f16 or bf16: wider gradients are rounded to it for their way. Half the bytes of f32. grad() keeps its dtype.
  /// PyTorch's counterpart: torch/distributed/algorithms/ddp_comm_hooks/default_hooks.py (bf16_compress_hook).
  std::optional<DType> wire_dtype = {};
};

/// A gradient, as far as its place among others goes.
struct BucketEntry {
  int64_t bytes = 0;
  DType dtype = kFloat32;
  Device device = kCPU;
};

/// Cuts a row of gradients into buckets: those of a bucket follow each other and have one dtype and device. Returns for
/// each bucket the place behind its last gradient.
std::vector<size_t> cut_buckets(const std::vector<BucketEntry>& row, const DataParallelOptions& options);

}  // namespace taper
