#pragma once
// Batch normalisations as cuDNN's graphs. Part of ops/vendor/cudnn/engines.cpp. The engines on sm_90 and
// these graphs are "BnAddRelu" and "DReluForkDBn" in cuDNN's documentation. The ReLU's mask is y > 0 of the
// stored y, a CUDNN_DATA_BOOLEAN tensor: 8 elements a byte, from its lowest bit on (cuDNN API reference,
// cudnnDataType_t). ops/norm/batch_norm.h agrees where channels fill whole bytes. No hardware has confirmed
// that yet, so these candidates are always verified.

#include "taper/ops/vendor/cudnn/graph.h"
#include "taper/ops/vendor/norm_pattern.h"

namespace taper::ops {

class NormGraph {
 public:
  static CudnnGraph of(const NormPattern& pattern) {
    CudnnGraph graph;
    NormGraph norm(pattern, graph);
    if (pattern.pass == NormPass::kForward) {
      norm.add_forward();
    } else {
      norm.add_backward();
    }
    return graph;
  }

 private:
  NormGraph(const NormPattern& pattern, CudnnGraph& graph) : pattern_(pattern), graph_(graph) {}

  cudnnDataType_t image_type() const { return CudnnGraph::data_type(pattern_.dtype); }
  fe::Tensor images(Operand operand) const { return graph_.tensor(operand, pattern_.shape, image_type()); }
  fe::Tensor mask() const { return graph_.tensor(Operand::kReluMask, pattern_.shape, CUDNN_DATA_BOOLEAN); }
  fe::Tensor channels(Operand operand) const {
    return graph_.tensor(operand, {1, pattern_.shape[1], 1, 1}, CUDNN_DATA_FLOAT);
  }
  /// What the next operation writes: the result if it is the last, else a virtual tensor.
  fe::Tensor next_result(bool is_last) {
    return is_last ? images(Operand::kY) : graph_.virtual_tensor(pattern_.shape);
  }

  void add_forward() {
    fe::Tensor y = next_result(!pattern_.residual && !pattern_.relu);
    fe::OperationBuilder norm(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
    norm.setNormalizationMode(fe::NormMode_t::BATCH_NORM)
        .setNormFwdPhase(fe::NormFwdPhase_t::TRAINING)
        .setxDesc(images(Operand::kX))
        .setScaleAndBias(channels(Operand::kWeight), channels(Operand::kBias))
        .setSavedMeanAndInvVar(channels(Operand::kMean), channels(Operand::kInvstd))
        .setEpsilonTensor(graph_.number(Operand::kEpsilon))
        .setyDesc(y);
    if (pattern_.running) {
      norm.setPrevRunningMeanAndVar(channels(Operand::kRunningMean), channels(Operand::kRunningVar))
          .setNextRunningMeanAndVar(channels(Operand::kNextRunningMean), channels(Operand::kNextRunningVar))
          .setExpDecayFactorTensor(graph_.number(Operand::kMomentum));
    }
    graph_.add(norm.build());
    if (pattern_.residual) {
      const fe::Tensor residual = images(Operand::kResidual);
      fe::Tensor sum = next_result(!pattern_.relu);
      graph_.add_pointwise(CUDNN_POINTWISE_ADD, y, &residual, sum);
      y = std::move(sum);
    }
    if (!pattern_.relu) return;
    const fe::Tensor clamped = next_result(true);
    graph_.add_pointwise(CUDNN_POINTWISE_RELU_FWD, y, nullptr, clamped);
    if (!pattern_.mask) return;
    const fe::Tensor zero = graph_.number(Operand::kZero);
    graph_.add_pointwise(CUDNN_POINTWISE_CMP_GT, clamped, &zero, mask());
  }

  void add_backward() {
    const fe::Tensor grad = images(Operand::kGradY);
    fe::OperationBuilder norm(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
    norm.setNormalizationMode(fe::NormMode_t::BATCH_NORM)
        .setxDesc(images(Operand::kX))
        .setSavedMeanAndInvVar(channels(Operand::kMean), channels(Operand::kInvstd))
        .setScale(channels(Operand::kWeight))
        .setdxDesc(images(Operand::kGradX))
        .setDScaleAndDBias(channels(Operand::kGradWeight), channels(Operand::kGradBias));
    if (!pattern_.relu) {
      graph_.add(norm.setdyDesc(grad).build());
      return;
    }
    // A bit of the mask is 0 or 1, so the product is exact in the images' type, which engines require.
    const fe::Tensor passed = pattern_.residual ? images(Operand::kGradResidual)
                                                : graph_.virtual_tensor(pattern_.shape, image_type());
    const fe::Tensor bits = mask();
    graph_.add_pointwise(CUDNN_POINTWISE_MUL, grad, &bits, passed);
    graph_.add(norm.setdyDesc(passed).build());
  }

  const NormPattern& pattern_;
  CudnnGraph& graph_;
};

}  // namespace taper::ops
