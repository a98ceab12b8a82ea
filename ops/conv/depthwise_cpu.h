#pragma once
// Depthwise convolution: as many groups as channels, one input and one output channel in each. There is no
// matrix to multiply; every channel is a lane of its own, and plain loops over the channels of a pixel are
// limited by memory alone.

#include "taper/ops/conv/conv_plan.h"

namespace taper::ops {

inline bool is_depthwise(const Conv2dGeometry& conv) {
  return conv.options.groups > 1 && conv.group_c() == 1 && conv.group_k() == 1;
}

/// The forward pass with plan_forward(), the gradient by the input with plan_backward_input(). weight:
/// [channels, taps]; bias may be null.
template <class T>
void depthwise_convolve_cpu(const ConvPlan& plan, int64_t taps, const T* source, const T* weight,
                            const T* bias, T* destination);

/// x is the source and grad the destination of plan_forward().
template <class T>
void depthwise_backward_weight_cpu(const ConvPlan& plan, int64_t taps, const T* grad, const T* x,
                                   T* grad_weight);

}  // namespace taper::ops
