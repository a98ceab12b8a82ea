#include "taper/ops/conv/conv2d_call.h"

#include "taper/ops/copy/create.h"
#include "taper/ops/norm/batch_norm.h"

namespace taper::ops {

const Tensor& Conv2dCall::result() const {
  switch (pass) {
    case Conv2dPass::kBackwardInput:
      return x;
    case Conv2dPass::kBackwardWeight:
      return weight;
    default:
      return y;
  }
}

std::vector<Tensor*> Conv2dCall::outputs() {
  std::vector<Tensor*> written = {const_cast<Tensor*>(&result())};
  if (moments.mean.defined()) written.insert(written.end(), {&moments.mean, &moments.var});
  return written;
}

Problem Conv2dCall::problem() const {
  const auto named = [&](Literal name) { return Problem("conv2d", name, result().device()); };
  Problem problem = pass == Conv2dPass::kForward         ? named("forward")
                    : pass == Conv2dPass::kBackwardInput ? named("backward_input")
                                                         : named("backward_weight");
  const Conv2dOptions& o = conv.options;
  problem.add("a", first()).add("b", second()).add("bias", bias).add("result", result());
  if (residual.defined()) problem.add("residual", residual);
  if (relu) problem.add("epilogue", "relu");
  if (constant) problem.add("weight", "constant");
  if (moments.mean.defined()) problem.add("epilogue", "moments");
  if (prologue.scale.defined())
    problem.add("prologue", prologue.relu ? Literal("affine relu") : Literal("affine"));
  problem.add("stride", {o.stride.h, o.stride.w})
      .add("padding", {o.padding.h, o.padding.w})
      .add("dilation", {o.dilation.h, o.dilation.w})
      .add("groups", {o.groups});
  if (x.device().is_cpu()) return problem;
  const auto address = [](const Tensor& of) -> const void* { return of.defined() ? of.data_ptr() : nullptr; };
  problem.add(
      "alignment",
      {common_alignment({address(x), address(weight), address(y), address(bias), address(residual)})});
  if (x.dtype() == kFloat32) problem.add("tf32", {allow_tf32});
  return problem;
}

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
