#pragma once
// CPU code behind layerwise.h. Tensors at the same position share dtype (f32 or f64) and dense memory order.

#include <vector>

#include "taper/ops/optimizer/layerwise.h"

namespace taper::ops {

void lamb_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const LambOptions& options, int64_t step, const std::vector<Tensor>& copies);
void lars_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                     const std::vector<Tensor>& copies);

}  // namespace taper::ops
