#pragma once
// GPU code behind optimizer.h: a few launches for all tensors, without a wait of the host. Tensors at the
// same position share their dense memory order, not their dtype: f32, f64, f16 or bf16.

#include <vector>

#include "taper/ops/optimizer/optimizer.h"

namespace taper::ops {

void sgd_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                    const std::vector<Tensor>& momentum_buffers, const SgdOptions& options, bool first_step,
                    const UpdateControls& controls, const std::vector<Tensor>& copies);
void adam_update_gpu(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                     const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                     const AdamOptions& options, int64_t step, const UpdateControls& controls,
                     const std::vector<Tensor>& copies);
void ema_update_gpu(const std::vector<Tensor>& averages, const std::vector<Tensor>& params, double decay,
                    const UpdateControls& controls);
/// norm: f32 or f64, one element; at least one tensor.
void global_norm_gpu(const std::vector<Tensor>& tensors, const Tensor& norm);
void scale_gpu(const std::vector<Tensor>& tensors, double factor);
/// factor: one element on the tensors' device.
void scale_gpu(const std::vector<Tensor>& tensors, const Tensor& factor);
/// inverse_scale, found_inf: f32, one element each.
void unscale_gpu(const std::vector<Tensor>& tensors, const Tensor& inverse_scale, const Tensor& found_inf);

}  // namespace taper::ops
