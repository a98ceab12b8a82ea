#pragma once
// Convolutions as cuDNN's graphs. Part of ops/vendor/cudnn/engines.cpp.

#include "taper/ops/vendor/conv_pattern.h"
#include "taper/ops/vendor/cudnn/graph.h"

namespace taper::ops {

class ConvGraph {
 public:
  static CudnnGraph of(const ConvPattern& pattern) {
    CudnnGraph graph;
    ConvGraph conv(pattern, graph);
    if (pattern.pass == Conv2dPass::kForward) {
      conv.add_forward();
    } else {
      conv.add_gradient();
    }
    return graph;
  }

 private:
  ConvGraph(const ConvPattern& pattern, CudnnGraph& graph)
      : pattern_(pattern), conv_(pattern.conv), graph_(graph) {}

  fe::Tensor operand(Operand operand, const Shape& shape) const {
    return graph_.tensor(operand, shape, graph_.data_type(pattern_.dtype));
  }

  fe::ConvDesc convolution() const {
    const Conv2dOptions& o = conv_.options;
    const std::array<int64_t, 2> padding = {o.padding.h, o.padding.w}, stride = {o.stride.h, o.stride.w},
                                 dilation = {o.dilation.h, o.dilation.w};
    return fe::ConvDescBuilder()
        .setComputeType(CUDNN_DATA_FLOAT)
        .setMathMode(CUDNN_CROSS_CORRELATION)
        .setSpatialDimCount(2)
        .setSpatialStride(2, stride.data())
        .setPrePadding(2, padding.data())
        .setPostPadding(2, padding.data())
        .setDilation(2, dilation.data())
        .build();
  }

  /// What the next operation writes: the result if it is the last, else a virtual tensor.
  fe::Tensor next_result(int operations_left) {
    return operations_left == 0 ? operand(Operand::kY, conv_.output_shape())
                                : graph_.virtual_tensor(conv_.output_shape());
  }

  void add_forward() {
    int left = int(pattern_.bias) + int(pattern_.residual) + int(pattern_.relu);
    fe::Tensor y = next_result(left);
    const fe::Tensor x = pattern_.affine_relu ? add_prologue() : operand(Operand::kX, conv_.input_shape());
    graph_.add(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
                   .setxDesc(x)
                   .setwDesc(operand(Operand::kWeight, conv_.weight_shape()))
                   .setyDesc(y)
                   .setcDesc(convolution())
                   .setAlpha(1.f)
                   .setBeta(0.f)
                   .build());
    // cuDNN's precompiled fusions have this order.
    if (pattern_.residual) y = added(y, operand(Operand::kResidual, conv_.output_shape()), --left);
    if (pattern_.bias) y = added(y, operand(Operand::kBias, {1, conv_.k, 1, 1}), --left);
    if (pattern_.relu) graph_.add_pointwise(CUDNN_POINTWISE_RELU_FWD, y, nullptr, next_result(0));
    if (pattern_.sums) add_sums();
  }

  /// relu(x * scale + shift), a virtual tensor.
  fe::Tensor add_prologue() {
    const Shape shape = conv_.input_shape(), channels = {1, conv_.c, 1, 1};
    const fe::Tensor scale = graph_.tensor(Operand::kScale, channels, CUDNN_DATA_FLOAT);
    const fe::Tensor shift = graph_.tensor(Operand::kShift, channels, CUDNN_DATA_FLOAT);
    const fe::Tensor scaled = graph_.virtual_tensor(shape), shifted = graph_.virtual_tensor(shape);
    fe::Tensor x = graph_.virtual_tensor(shape, graph_.data_type(pattern_.dtype));
    graph_.add_pointwise(CUDNN_POINTWISE_MUL, operand(Operand::kX, shape), &scale, scaled);
    graph_.add_pointwise(CUDNN_POINTWISE_ADD, scaled, &shift, shifted);
    graph_.add_pointwise(CUDNN_POINTWISE_RELU_FWD, shifted, nullptr, x);
    return x;
  }

  void add_sums() {
    const Shape channels = {1, conv_.k, 1, 1};
    graph_.add(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR)
                   .setxDesc(operand(Operand::kY, conv_.output_shape()))
                   .setSumDesc(graph_.tensor(Operand::kSum, channels, CUDNN_DATA_FLOAT))
                   .setSqSumDesc(graph_.tensor(Operand::kSquareSum, channels, CUDNN_DATA_FLOAT))
                   .setGenStatsMode(CUDNN_GENSTATS_SUM_SQSUM)
                   .setComputeType(CUDNN_DATA_FLOAT)
                   .build());
  }

  fe::Tensor added(const fe::Tensor& x, const fe::Tensor& b, int left) {
    fe::Tensor y = next_result(left);
    graph_.add_pointwise(CUDNN_POINTWISE_ADD, x, &b, y);
    return y;
  }

  void add_gradient() {
    const bool by_input = pattern_.pass == Conv2dPass::kBackwardInput;
    fe::OperationBuilder operation(by_input ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                                            : CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    operation.setdyDesc(operand(Operand::kGradY, conv_.output_shape()))
        .setcDesc(convolution())
        .setAlpha(1.f)
        .setBeta(0.f);
    if (by_input) {
      operation.setwDesc(operand(Operand::kWeight, conv_.weight_shape()))
          .setdxDesc(operand(Operand::kGradX, conv_.input_shape()));
      graph_.add(operation.build());
      return;
    }
    operation.setxDesc(operand(Operand::kX, conv_.input_shape()));
    if (!pattern_.f32_result) {
      graph_.add(operation.setdwDesc(operand(Operand::kGradWeight, conv_.weight_shape())).build());
      return;
    }
    // cuDNN 9.19 lists no engine whose gradient has another type than its operands, unless more follows.
    const fe::Tensor sums = graph_.virtual_tensor(conv_.weight_shape());
    graph_.add(operation.setdwDesc(sums).build());
    graph_.add_pointwise(CUDNN_POINTWISE_IDENTITY, sums, nullptr,
                         graph_.tensor(Operand::kGradWeight, conv_.weight_shape(), CUDNN_DATA_FLOAT));
  }

  const ConvPattern& pattern_;
  const Conv2dGeometry& conv_;
  CudnnGraph& graph_;
};

}  // namespace taper::ops
