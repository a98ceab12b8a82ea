#include "taper/ops/conv/passes/extra_passes.h"

#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper::ops {

std::vector<Algorithm> with_moments_after(const Conv2dCall& call, std::vector<Algorithm> list) {
  if (!call.moments.mean.defined()) return list;
  for (Algorithm& algorithm : list) {
    algorithm.run = [run = std::move(algorithm.run)](const Conv2dCall& conv, void* workspace) {
      run(conv, workspace);
      batch_moments_of(conv.y, conv.moments);
    };
  }
  return list;
}

Conv2dCall with_rounded_weight(const Conv2dCall& call) {
  Conv2dCall rounded = call;
  rounded.weight = empty_like(call.weight, call.y.dtype());
  return rounded;
}

std::vector<Algorithm> with_weight_cast_after(std::vector<Algorithm> list) {
  for (Algorithm& algorithm : list) {
    algorithm.run = [run = std::move(algorithm.run)](const Conv2dCall& conv, void* workspace) {
      const Conv2dCall rounded = with_rounded_weight(conv);
      run(rounded, workspace);
      copy_(conv.weight, rounded.weight);
    };
  }
  return list;
}

std::vector<Algorithm> with_prologue_before(const Conv2dCall& call, std::vector<Algorithm> list) {
  if (!call.prologue.scale.defined()) return list;
  return translated<Conv2dCall>(std::move(list), [](const Conv2dCall& conv) {
    const auto& [scale, shift, relu] = conv.prologue;
    const TensorOptions like = {.dtype = scale.dtype(), .device = scale.device()};
    Conv2dCall plain = conv;
    plain.prologue = {};
    plain.x = batch_norm_inference(conv.x, scale, shift, zeros(scale.shape(), like),
                                   ones(scale.shape(), like), {.eps = 0, .relu = relu});
    return plain;
  });
}

std::vector<Algorithm> with_casts_around(std::vector<Algorithm> list) {
  for (Algorithm& algorithm : list) {
    algorithm.run = [run = std::move(algorithm.run)](const Conv2dCall& conv, void* workspace) {
      Conv2dCall wide = conv;
      wide.moments = {};  // those of the wide result would differ
      Tensor& result = const_cast<Tensor&>(wide.result());
      for (Tensor* const tensor : {&wide.x, &wide.weight, &wide.y, &wide.bias, &wide.residual}) {
        if (tensor != &result && tensor->defined()) *tensor = cast(*tensor, kFloat32);
      }
      if (result.dtype() != kFloat32) result = empty(result.shape(), {.memory_format = kChannelsLast});
      run(wide, workspace);
      if (result.dtype() != conv.result().dtype()) copy_(conv.result(), result);
    };
  }
  return list;
}

}  // namespace taper::ops
