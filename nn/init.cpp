#include "taper/nn/init.h"

#include <cmath>

#include "taper/ops/copy/copy.h"
#include "taper/ops/random/random.h"

namespace taper::init {
namespace {

double kaiming_deviation(const Tensor& weight, const KaimingOptions& options) {
  const Fan fan = fan_of(weight);
  const int64_t count = options.mode == FanMode::kFanIn ? fan.in : fan.out;
  return gain_of(options.nonlinearity, options.slope) / std::sqrt(double(count));
}

double xavier_deviation(const Tensor& weight, double gain) {
  const Fan fan = fan_of(weight);
  return gain * std::sqrt(2.0 / double(fan.in + fan.out));
}

/// A uniform distribution over [-b, b] has deviation b / sqrt(3).
void uniform_of_deviation(const Tensor& x, double deviation, Generator& generator) {
  const double bound = deviation * std::sqrt(3.0);
  uniform_(x, -bound, bound, generator);
}

}  // namespace

Fan fan_of(const Tensor& weight) {
  TAPER_CHECK(weight.dim() >= 2,
              "init: fan-in and fan-out need a weight of 2 or more dimensions, got shape {}", weight.shape());
  int64_t kernel = 1;
  for (int64_t axis = 2; axis < weight.dim(); ++axis) kernel *= weight.size(axis);
  return {.in = weight.size(1) * kernel, .out = weight.size(0) * kernel};
}

double gain_of(Nonlinearity nonlinearity, double slope) {
  switch (nonlinearity) {
    case Nonlinearity::kLinear:
    case Nonlinearity::kSigmoid:
      return 1;
    case Nonlinearity::kTanh:
      return 5.0 / 3;
    case Nonlinearity::kRelu:
      return std::sqrt(2.0);
    case Nonlinearity::kLeakyRelu:
      return std::sqrt(2.0 / (1 + slope * slope));
    case Nonlinearity::kSelu:
      return 3.0 / 4;
  }
  fail("gain_of: nonlinearity {} is not known", int(nonlinearity));
}

void kaiming_normal_(const Tensor& weight, const KaimingOptions& options, Generator& generator) {
  normal_(weight, 0, kaiming_deviation(weight, options), generator);
}
void kaiming_uniform_(const Tensor& weight, const KaimingOptions& options, Generator& generator) {
  uniform_of_deviation(weight, kaiming_deviation(weight, options), generator);
}

void xavier_normal_(const Tensor& weight, double gain, Generator& generator) {
  normal_(weight, 0, xavier_deviation(weight, gain), generator);
}
void xavier_uniform_(const Tensor& weight, double gain, Generator& generator) {
  uniform_of_deviation(weight, xavier_deviation(weight, gain), generator);
}

void normal_(const Tensor& x, double mean, double deviation, Generator& generator) {
  ops::normal_(x, mean, deviation, generator);
}
void uniform_(const Tensor& x, double low, double high, Generator& generator) {
  ops::uniform_(x, low, high, generator);
}
void constant_(const Tensor& x, double value) {
  ops::fill_(x, value);
}

void default_linear_(const Tensor& weight, const Tensor& bias, Generator& generator) {
  // In PyTorch this is spelled kaiming_uniform_ with a = sqrt(5), whose bound comes to the same.
  const double bound = 1 / std::sqrt(double(fan_of(weight).in));
  uniform_(weight, -bound, bound, generator);
  if (bias.defined()) uniform_(bias, -bound, bound, generator);
}

}  // namespace taper::init
