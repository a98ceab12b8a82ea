#include "taper/nn/serve/constant_conv.h"

#include <algorithm>
#include <functional>

#include "taper/autograd/tape/autocast.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"

namespace taper {

ConstantConv::Source::Source(const Tensor& x)
    : storage(x.defined() ? x.storage() : nullptr), version(x.defined() ? x.version() : 0) {}

bool ConstantConv::Source::is_current(const Tensor& x) const {
  if (!x.defined()) return !storage;
  return x.storage() == storage && x.version() == version;
}

std::shared_ptr<const ConstantConv::Prepared> ConstantConv::prepare(const Conv2d& conv,
                                                                    const BatchNorm2d* norm,
                                                                    const std::vector<Tensor>& parameters,
                                                                    DType dtype) {
  std::vector<Source> sources(parameters.begin(), parameters.end());
  const auto narrow = [&](const Tensor& x) { return x.defined() ? ops::cast(x, dtype) : x; };
  if (!norm) return std::make_shared<Prepared>(narrow(conv.weight), narrow(conv.bias), std::move(sources));
  // y = (conv(x) + conv.bias - mean) * scale + norm.bias, in the compute dtype and rounded once.
  const auto wide = [&](const Tensor& x) { return ops::cast(x, compute_dtype(conv.weight.dtype())); };
  const Tensor scale = ops::mul(ops::rsqrt(ops::add(wide(norm->running_var), norm->eps)), wide(norm->weight));
  Tensor shift = wide(norm->running_mean);
  if (conv.bias.defined()) shift = ops::sub(shift, wide(conv.bias));
  const Tensor weight = ops::mul(wide(conv.weight), views::view(scale, {scale.size(0), 1, 1, 1}));
  const Tensor bias = ops::sub(wide(norm->bias), ops::mul(shift, scale));
  return std::make_shared<Prepared>(narrow(weight), narrow(bias), std::move(sources));
}

Tensor ConstantConv::run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
                         const BatchNormFusion& fusion) {
  const OpScope scope("conv2d_fused");  // for profiles: below the tape, ops do not name themselves
  std::vector<Tensor> parameters = {conv.weight, conv.bias};
  if (norm) {
    parameters.insert(parameters.end(), {norm->weight, norm->bias, norm->running_mean, norm->running_var});
  }
  const auto low = autocast_dtype(x.device().type);
  const bool narrows = low && conv.weight.dtype() != kFloat64;  // which autocast does not touch
  const DType dtype = narrows ? *low : conv.weight.dtype();
  const auto narrow = [&](const Tensor& of) { return narrows && of.defined() ? ops::cast(of, dtype) : of; };
  std::shared_ptr<const Prepared> prepared;
  {
    const std::lock_guard lock(mutex_);
    if (!prepared_ || prepared_->dtype != dtype ||
        !std::equal(prepared_->sources.begin(), prepared_->sources.end(), parameters.begin(),
                    parameters.end(), std::mem_fn(&Source::is_current))) {
      prepared_ = prepare(conv, norm, parameters, dtype);
    }
    prepared = prepared_;
  }
  return ops::conv2d_fused(narrow(x), prepared->weight,
                           {.bias = prepared->bias, .residual = narrow(fusion.residual), .relu = fusion.relu},
                           conv.options);
}

}  // namespace taper
