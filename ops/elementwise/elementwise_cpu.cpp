// The CPU's elementwise operations: loads, converts and stores around the block kernels.

#include <algorithm>
#include <array>

#include "taper/core/base/parallel.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/elementwise/block_kernel.h"

namespace taper::ops {
namespace {

/// Runs `function` on every block. T is what it reads, Result what it writes: T or bool.
template <class T, class Result>
void run_blocks(const StridedLoop& loop, BlockFunction function) {
  const int inputs = loop.count - 1;
  parallel_for(loop.numel, kGrainSize, [&](int64_t begin, int64_t end) {
    T buffers[StridedLoop::kMaxOperands - 1][kBlockSize];
    Result result_buffer[kBlockSize];
    for (int64_t at = begin; at < end; at += kBlockSize) {
      const int64_t count = std::min(kBlockSize, end - at);
      const void* blocks[StridedLoop::kMaxOperands - 1];
      for (int k = 0; k < inputs; ++k) {
        blocks[k] = load_block(loop.operands[size_t(k) + 1], loop.shape, at, count, buffers[k]);
      }
      Result* result = block_target(loop.operands[0], loop.shape, at, count, result_buffer);
      function(result, blocks, count);
      store_block(loop.operands[0], loop.shape, at, count, result);
    }
  });
}

}  // namespace

void elementwise_cpu(ElementwiseOp op, const Tensor& out, std::span<const Tensor> inputs, DType compute) {
  std::array<const Tensor*, StridedLoop::kMaxOperands> tensors = {&out};
  for (size_t k = 0; k < inputs.size(); ++k) tensors[k + 1] = &inputs[k];
  const StridedLoop loop(std::span(tensors.data(), inputs.size() + 1));
  const BlockKernel kernel = inputs.size() == 1   ? unary_kernel(op, compute)
                             : inputs.size() == 2 ? binary_kernel(op, compute)
                                                  : ternary_kernel(op, compute);
  dispatch_block_type(compute, [&]<class T>() {
    if (kernel.is_predicate) {
      run_blocks<T, bool>(loop, kernel.function);
    } else {
      run_blocks<T, T>(loop, kernel.function);
    }
  });
}

}  // namespace taper::ops
