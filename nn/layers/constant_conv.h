#pragma once
// How a convolution runs in an InferenceForm (nn/serve/inference_form.h): its weight prepared once, and the
// batch norm after it taken into weight and bias.

#include <mutex>
#include <vector>

#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/ops/conv/constant_weight.h"

namespace taper {

class ConstantConv {
 public:
  /// relu(norm(conv(x)) + residual) with the running statistics; without the norm if it is null. Records
  /// nothing. What is kept of the parameters is made anew when one of them was written to or replaced. Safe
  /// from several threads; on a GPU, what is kept is made on the current stream.
  Tensor run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x, const BatchNormFusion& fusion);

 private:
  /// A parameter as it was.
  struct Source {
    explicit Source(const Tensor& x);
    bool is_current(const Tensor& x) const;

    std::shared_ptr<Storage> storage;  ///< held, so that no other can take its place
    uint32_t version = 0;
  };
  struct Prepared {
    Prepared(const Tensor& weight_, Tensor bias_, std::vector<Source> sources_)
        : weight(weight_), bias(std::move(bias_)), sources(std::move(sources_)) {}

    ops::ConstantWeight weight;
    Tensor bias;
    std::vector<Source> sources;
  };
  static std::shared_ptr<const Prepared> prepare(const Conv2d& conv, const BatchNorm2d* norm,
                                                 const std::vector<Tensor>& parameters);

  std::mutex mutex_;
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace taper
