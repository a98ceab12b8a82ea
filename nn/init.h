#pragma once
// Starting values of weights. Each function fills its tensor in place, unseen by the tape, with the numbers
// that `generator` draws for the row-major order of elements, whatever the memory format. PyTorch's
// counterpart: torch/nn/init.py.

#include <string_view>

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::init {

/// How many inputs feed one output of a layer, and how many outputs one input feeds.
struct Fan {
  int64_t in = 0;
  int64_t out = 0;
};
/// weight: [out, in, ...]; the axes after the first two are the kernel's. Throws Error below 2 dimensions.
Fan fan_of(const Tensor& weight);

enum class FanMode { kFanIn, kFanOut };
enum class Nonlinearity { kLinear, kSigmoid, kTanh, kRelu, kLeakyRelu, kSelu };

/// The factor that keeps a signal's variance through the nonlinearity; `slope` is leaky ReLU's.
/// (torch.nn.init.calculate_gain)
double gain_of(Nonlinearity nonlinearity, double slope = 0.01);

struct KaimingOptions {
  FanMode mode = FanMode::kFanIn;
  Nonlinearity nonlinearity = Nonlinearity::kLeakyRelu;
  double slope = 0;  ///< of leaky ReLU; PyTorch calls it `a`
};

/// Normal with mean 0 and deviation gain / sqrt(fan). He et al. 2015, https://arxiv.org/abs/1502.01852.
void kaiming_normal_(const Tensor& weight, const KaimingOptions& options = {},
                     Generator& generator = default_generator());
/// Uniform of the same variance: bound gain * sqrt(3 / fan).
void kaiming_uniform_(const Tensor& weight, const KaimingOptions& options = {},
                      Generator& generator = default_generator());

/// Normal with mean 0 and deviation gain * sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010.
void xavier_normal_(const Tensor& weight, double gain = 1, Generator& generator = default_generator());
/// Uniform of the same variance: bound gain * sqrt(6 / (fan_in + fan_out)).
void xavier_uniform_(const Tensor& weight, double gain = 1, Generator& generator = default_generator());

void normal_(const Tensor& x, double mean = 0, double deviation = 1,
             Generator& generator = default_generator());
/// From [low, high).
void uniform_(const Tensor& x, double low = 0, double high = 1, Generator& generator = default_generator());
void constant_(const Tensor& x, double value);

/// What torch.nn.Linear and torch.nn.Conv2d start with: weight and bias (may be undefined) uniform within
/// 1 / sqrt(fan_in).
void default_linear_(const Tensor& weight, const Tensor& bias, Generator& generator = default_generator());

}  // namespace taper::init
