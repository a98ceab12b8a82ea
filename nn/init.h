#pragma once
// Starting values of weights. Each function fills its tensor in place, and the tape records nothing.
// `generator` draws the numbers in row-major order of the elements, whatever the memory format. PyTorch's
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
/// Returns a weight's fan. weight: [out, in, ...] with the kernel's axes last. Throws Error below 2
/// dimensions.
Fan fan_of(const Tensor& weight);

enum class FanMode { kFanIn, kFanOut };
enum class Nonlinearity { kLinear, kSigmoid, kTanh, kRelu, kLeakyRelu, kSelu };

/// Returns the factor that keeps a signal's variance through the nonlinearity. slope: of leaky ReLU.
/// (torch.nn.init.calculate_gain)
double gain_of(Nonlinearity nonlinearity, double slope = 0.01);

struct KaimingOptions {
  FanMode mode = FanMode::kFanIn;
  Nonlinearity nonlinearity = Nonlinearity::kLeakyRelu;
  double slope = 0;  ///< of leaky ReLU; PyTorch calls it `a`
};

/// Fills with a normal distribution of mean 0 and deviation gain / sqrt(fan). He et al. 2015,
/// https://arxiv.org/abs/1502.01852.
void kaiming_normal_(const Tensor& weight, const KaimingOptions& options = {},
                     Generator& generator = default_generator());
/// Fills with a uniform distribution of bound gain * sqrt(3 / fan).
void kaiming_uniform_(const Tensor& weight, const KaimingOptions& options = {},
                      Generator& generator = default_generator());

/// Fills with a normal distribution of mean 0 and deviation gain * sqrt(2 / (fan_in + fan_out)). Glorot and
/// Bengio 2010.
void xavier_normal_(const Tensor& weight, double gain = 1, Generator& generator = default_generator());
/// Fills with a uniform distribution of bound gain * sqrt(6 / (fan_in + fan_out)).
void xavier_uniform_(const Tensor& weight, double gain = 1, Generator& generator = default_generator());

void normal_(const Tensor& x, double mean = 0, double deviation = 1,
             Generator& generator = default_generator());
/// Fills with a uniform distribution over [low, high).
void uniform_(const Tensor& x, double low = 0, double high = 1, Generator& generator = default_generator());
void constant_(const Tensor& x, double value);

/// Fills weight and bias uniformly within 1 / sqrt(fan_in), as torch.nn.Linear and torch.nn.Conv2d start.
/// bias: may be undefined.
void default_linear_(const Tensor& weight, const Tensor& bias, Generator& generator = default_generator());

}  // namespace taper::init
