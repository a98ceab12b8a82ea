// The CPU's kernels of the operations with one input.

#include "taper/ops/elementwise/block_kernel.h"

namespace taper::ops {

BlockKernel unary_kernel(ElementwiseOp op, DType compute) {
  return block_kernel<kFirstUnary, kLastUnary>(op, compute);
}

}  // namespace taper::ops
