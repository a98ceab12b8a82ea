// What a vendor's library needs to know of a convolution: its pattern and its operands.

#include "taper/ops/vendor/conv_pattern.h"

namespace taper::ops {

ConvPattern ConvPattern::of(const Conv2dCall& call) {
  return {.pass = call.pass,
          .conv = call.conv,
          .dtype = call.y.dtype(),
          .f32_result = call.result().dtype() != call.y.dtype(),
          .allow_tf32 = call.allow_tf32,
          .bias = call.bias.defined(),
          .residual = call.residual.defined(),
          .relu = call.relu,
          .affine_relu = call.prologue.scale.defined()};
}

EngineOperands conv_operands(const Conv2dCall& call) {
  switch (call.pass) {
    case Conv2dPass::kForward:
      return {{Operand::kX, call.x},
              {Operand::kWeight, call.weight},
              {Operand::kScale, call.prologue.scale},
              {Operand::kShift, call.prologue.shift},
              {Operand::kBias, call.bias},
              {Operand::kResidual, call.residual},
              {Operand::kY, call.y}};
    case Conv2dPass::kBackwardInput:
      return {{Operand::kGradY, call.y}, {Operand::kWeight, call.weight}, {Operand::kGradX, call.x}};
    case Conv2dPass::kBackwardWeight:
      return {{Operand::kGradY, call.y}, {Operand::kX, call.x}, {Operand::kGradWeight, call.weight}};
  }
  return {};
}

}  // namespace taper::ops
