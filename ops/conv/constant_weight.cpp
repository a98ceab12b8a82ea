#include "taper/ops/conv/constant_weight.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

Tensor channels_last(const Tensor& weight) {
  check_defined("ConstantWeight", "weight", weight);
  return contiguous(weight, kChannelsLast);
}

}  // namespace

ConstantWeight::ConstantWeight(const Tensor& weight)
    : weight_(channels_last(weight)), version_(weight_.version()) {}

const Tensor& ConstantWeight::tensor() const {
  TAPER_CHECK(weight_.version() == version_,
              "ConstantWeight: the weight {} was written to since; make a new ConstantWeight of it",
              weight_.shape());
  return weight_;
}

}  // namespace taper::ops
