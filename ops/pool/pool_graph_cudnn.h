#pragma once
// Poolings as cuDNN's graphs, where they are called resampling. Part of ops/library/engines_cudnn.cpp.

#include <algorithm>

#include "taper/ops/library/graph_cudnn.h"
#include "taper/ops/pool/pool_pattern.h"

namespace taper::ops {

class PoolGraph {
 public:
  static CudnnGraph of(const PoolPattern& pattern) {
    CudnnGraph graph(pattern.alignment);
    const auto images = [&](Operand operand, const Shape& shape) {
      return graph.tensor(operand, shape, CudnnGraph::data_type(pattern.dtype));
    };
    const fe::ResampleDesc windows = windows_of(pattern);
    fe::OperationBuilder operation(pattern.backward ? CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR
                                                    : CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR);
    operation.setResampleDesc(windows).setAlpha(1.0).setBeta(0.0);
    if (pattern.backward) {
      operation.setdyDesc(images(Operand::kGradY, pattern.output))
          .setdxDesc(images(Operand::kGradX, pattern.input));
    } else {
      operation.setxDesc(images(Operand::kX, pattern.input)).setyDesc(images(Operand::kY, pattern.output));
    }
    graph.add(operation.build());
    return graph;
  }

 private:
  /// Padding behind the picture: as before it, or as far as the last window reaches (ceil_mode).
  static int64_t padding_behind(int64_t input, int64_t output, int64_t kernel, int64_t stride,
                                int64_t padding) {
    return std::max(padding, (output - 1) * stride + kernel - input - padding);
  }

  static fe::ResampleDesc windows_of(const PoolPattern& pattern) {
    const Shape &in = pattern.input, &out = pattern.output;
    const IntPair &size = pattern.kernel, &step = pattern.stride, &before = pattern.padding;
    const std::array<int64_t, 2> kernel = {size.h, size.w}, stride = {step.h, step.w},
                                 padding = {before.h, before.w},
                                 behind = {padding_behind(in[2], out[2], size.h, step.h, before.h),
                                           padding_behind(in[3], out[3], size.w, step.w, before.w)};
    const bool max = pattern.kind == PoolKind::kMax;
    return fe::ResampleDescBuilder()
        .setComputeType(CUDNN_DATA_FLOAT)
        .setNanPropagation(CUDNN_PROPAGATE_NAN)
        .setResampleMode(max                                        ? CUDNN_RESAMPLE_MAXPOOL
                         : pattern.kind == PoolKind::kAverageInside ? CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING
                                                                    : CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING)
        .setPaddingMode(max ? CUDNN_NEG_INF_PAD : CUDNN_ZERO_PAD)
        .setSpatialDim(2, kernel.data())
        .setSpatialStride(2, stride.data())
        .setPrePadding(2, padding.data())
        .setPostPadding(2, behind.data())
        .build();
  }
};

}  // namespace taper::ops
