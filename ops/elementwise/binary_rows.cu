// The fast kernels (elementwise_rows.cuh) of the operations with two inputs.

#include "taper/ops/elementwise/elementwise_rows.cuh"

namespace taper::ops {

void launch_rows(ElementwiseOp op, const ElementwiseLoop<2, float>& loop, DType stored) {
  launch_rows<kFirstBinary, kLastBinary>(op, loop, stored);
}

}  // namespace taper::ops
