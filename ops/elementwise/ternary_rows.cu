// The fast kernels (elementwise_rows.cuh) of the operations with three inputs.

#include "taper/ops/elementwise/elementwise_rows.cuh"

namespace taper::ops {

void launch_rows(ElementwiseOp op, const ElementwiseLoop<3, float>& loop, DType stored) {
  launch_rows<kFirstTernary, kLastTernary>(op, loop, stored);
}

}  // namespace taper::ops
