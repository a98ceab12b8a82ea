#pragma once
// A convolution whose parameters rarely change, as InferenceForm (nn/serve/inference_form.h) runs it. Its
// weight is prepacked once, and the batch norm after it is folded into weight and bias.

#include <mutex>
#include <vector>

#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/ops/conv/constant_weight.h"

namespace taper {

class ConstantConv {
 public:
  /// Returns relu(norm(conv(x)) + residual) with the running statistics, without the norm if it is null, in
  /// autocast's dtype where that is on. Records nothing. Prepares weight and bias anew when a parameter or
  /// statistic was written or replaced, or for another dtype. Thread-safe. On a GPU, prepares them on the
  /// current stream.
  Tensor run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x, const BatchNormFusion& fusion);

 private:
  /// Identifies a parameter's content.
  struct Source {
    explicit Source(const Tensor& x);
    bool is_current(const Tensor& x) const;

    std::shared_ptr<Storage> storage;  ///< held, so that its address is not used again
    uint32_t version = 0;
  };
  struct Prepared {
    Prepared(const Tensor& weight_, Tensor bias_, std::vector<Source> sources_)
        : weight(weight_), bias(std::move(bias_)), sources(std::move(sources_)) {}

    ops::ConstantWeight weight;
    Tensor bias;
    std::vector<Source> sources;
    DType dtype = weight.tensor().dtype();
  };
  static std::shared_ptr<const Prepared> prepare(const Conv2d& conv, const BatchNorm2d* norm,
                                                 const std::vector<Tensor>& parameters, DType dtype);

  std::mutex mutex_;
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace taper
