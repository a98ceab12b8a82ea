// The CPU's kernels of the operations with two and three inputs.

#include "taper/ops/elementwise/block_kernel.h"

namespace taper::ops {

BlockKernel binary_kernel(ElementwiseOp op, DType compute) {
  return block_kernel<kFirstBinary, kLastBinary>(op, compute);
}

BlockKernel ternary_kernel(ElementwiseOp op, DType compute) {
  return block_kernel<kFirstTernary, kLastTernary>(op, compute);
}

}  // namespace taper::ops
