#pragma once
// GPU code behind layerwise.h, under the rules of optimizer_gpu.h.

#include <vector>

#include "taper/ops/optimizer/layerwise.h"

namespace taper::ops {

void lamb_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const LambOptions& options, int64_t step, const UpdateControls& controls,
                     const std::vector<Tensor>& copies);
void lars_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                     const UpdateControls& controls, const std::vector<Tensor>& copies);

}  // namespace taper::ops
