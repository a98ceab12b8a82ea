#pragma once
// cuDNN's graphs of operations: what the graphs of all families share. Part of engines.cpp.

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB  // its copy of nlohmann::json; cuDNN serialises plans itself
#include <cudnn_frontend.h>

#include <array>
#include <vector>

#include "taper/ops/vendor/engine_operands.h"

namespace taper::ops {

namespace fe = cudnn_frontend;

/// A graph under construction. An operand's number is its name; virtual tensors, which only the graph sees,
/// have the numbers after all operands.
class CudnnGraph {
 public:
  static cudnnDataType_t data_type(DType dtype) {
    return dtype == kFloat16 ? CUDNN_DATA_HALF : dtype == kBFloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  }

  /// A tensor in channels_last memory.
  fe::Tensor tensor(Operand operand, const Shape& shape, cudnnDataType_t type) const {
    return tensor(int64_t(operand), shape, type, Place::kMemory);
  }
  /// An f32 given by value with each run.
  fe::Tensor number(Operand operand) const {
    return tensor(int64_t(operand), {1, 1, 1, 1}, CUDNN_DATA_FLOAT, Place::kHost);
  }
  /// A tensor that only the graph sees.
  fe::Tensor virtual_tensor(const Shape& shape, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return tensor(next_virtual_++, shape, type, Place::kVirtual);
  }

  void add(fe::Operation&& operation) { operations_.push_back(std::move(operation)); }
  /// y = mode(x, b), or mode(x) if b is null, computed in f32.
  void add_pointwise(cudnnPointwiseMode_t mode, const fe::Tensor& x, const fe::Tensor* b,
                     const fe::Tensor& y) {
    const auto description =
        fe::PointWiseDescBuilder().setMode(mode).setComputeType(CUDNN_DATA_FLOAT).build();
    fe::OperationBuilder operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.setxDesc(x).setyDesc(y).setpwDesc(description);
    if (b != nullptr) operation.setbDesc(*b);
    add(operation.build());
  }

  /// `handle`: null for a device that is not present.
  fe::OperationGraph build(cudnnHandle_t handle) {
    return fe::OperationGraphBuilder().setHandle(handle).setOperationGraph(operations_).build();
  }

 private:
  enum class Place : uint8_t { kMemory, kHost, kVirtual };

  fe::Tensor tensor(int64_t id, const Shape& shape, cudnnDataType_t type, Place place) const {
    const std::array<int64_t, 4> dims = {shape[0], shape[1], shape[2], shape[3]};
    const std::array<int64_t, 4> strides = {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
    return fe::TensorBuilder()
        .setDim(4, dims.data())
        .setStride(4, strides.data())
        .setId(id)
        .setAlignment(kEngineAlignment)
        .setDataType(type)
        .setVirtual(place == Place::kVirtual)
        .setByValue(place == Place::kHost)
        .build();
  }

  int64_t next_virtual_ = 256;
  std::vector<fe::Operation> operations_;
};

}  // namespace taper::ops
