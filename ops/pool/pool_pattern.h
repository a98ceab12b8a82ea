#pragma once
// A pooling as a vendor's library is asked for it (ops/library/engine_library.h).

#include "taper/core/tensor.h"
#include "taper/ops/int_pair.h"

namespace taper::ops {

enum class PoolKind : uint8_t {
  kMax,           ///< padding is never the maximum, NaN wins over numbers
  kAverage,       ///< divided by the whole window, padding included
  kAverageInside  ///< divided by what of the window lies inside the picture
};

/// Images are [N, H, W, C] in memory. kX gives kY; backward, of averages alone, kGradY gives kGradX.
struct PoolPattern {
  PoolKind kind = PoolKind::kMax;
  bool backward = false;
  Shape input = {}, output = {};  ///< of the pooling forward, [N, C, H, W]
  IntPair kernel = 1, stride = 1, padding = 0;
  DType dtype = kFloat32;  ///< f32, f16 or bf16; sums are f32
  int64_t alignment = 16;  ///< of both operands' addresses, in bytes
};

}  // namespace taper::ops
