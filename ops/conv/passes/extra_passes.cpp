#include "taper/ops/conv/passes/extra_passes.h"

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

}  // namespace taper::ops
