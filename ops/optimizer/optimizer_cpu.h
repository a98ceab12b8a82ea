#pragma once
// CPU code behind optimizer.h. Tensors at the same position share dtype (f32 or f64) and dense memory order.

#include <vector>

#include "taper/ops/optimizer/optimizer.h"

namespace taper::ops {

void sgd_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                    const std::vector<Tensor>& copies);
void adam_update_cpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const AdamOptions& options, int64_t step, const std::vector<Tensor>& copies);
void ema_update_cpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                    bool first_step);
double sum_of_squares_cpu(const std::vector<Tensor>& tensors);
void scale_cpu(const std::vector<Tensor>& tensors, double factor);
/// Scales. Returns whether all results are finite.
bool unscale_cpu(const std::vector<Tensor>& tensors, double factor);

}  // namespace taper::ops
