#include "taper/ops/conv/conv2d_call.h"

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

}  // namespace taper::ops
