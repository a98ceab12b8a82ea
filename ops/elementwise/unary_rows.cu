// The fast kernels (elementwise_rows.cuh) of the operations with one input.

#include "taper/ops/elementwise/elementwise_rows.cuh"

namespace taper::ops {

void launch_rows(ElementwiseOp op, const ElementwiseLoop<1, float>& loop, DType stored) {
  launch_rows<kFirstUnary, kLastUnary>(op, loop, stored);
}

}  // namespace taper::ops
