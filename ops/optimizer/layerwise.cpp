#include "taper/ops/optimizer/layerwise.h"

#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"
#include "taper/ops/optimizer/layerwise_cpu.h"
#include "taper/ops/optimizer/layerwise_gpu.h"
#include "taper/ops/optimizer/update_checks.h"

namespace taper::ops {

void lamb_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& exp_avgs, const std::vector<Tensor>& exp_avg_sqs,
                 const LambOptions& options, int64_t step, const UpdateControls& controls,
                 const std::vector<Tensor>& copies) {
  const OpCall call("lamb_update", params);
  TAPER_CHECK(step >= 1 || controls.step.defined(), "lamb_update: step counts from 1, got {}", step);
  const FlatList p("lamb_update", "params", params);
  const FlatList g("lamb_update", "grads", grads, p);
  const FlatList m("lamb_update", "exp_avgs", exp_avgs, p);
  const FlatList v("lamb_update", "exp_avg_sqs", exp_avg_sqs, p);
  check_controls("lamb_update", p, controls);
  check_copies("lamb_update", params, p, copies);
  if (!p.on_cpu()) {
    lamb_update_gpu(p.tensors(), g.tensors(), m.tensors(), v.tensors(), options, step, controls, copies);
  } else if (!is_skipped(controls)) {
    LambOptions now = options;
    if (controls.lr.defined()) now.lr = item(controls.lr);
    if (controls.step.defined()) step = item<int64_t>(controls.step);
    lamb_update_cpu(p.tensors(), g.tensors(), m.tensors(), v.tensors(), now, step, copies);
  }
  p.finish_write();
  m.finish_write();
  v.finish_write();
  finish_write(copies);
}

void lars_update(const std::vector<Tensor>& params, const std::vector<Tensor>& grads,
                 const std::vector<Tensor>& momentum_buffers, const LarsOptions& options, bool first_step,
                 const UpdateControls& controls, const std::vector<Tensor>& copies) {
  const OpCall call("lars_update", params);
  const FlatList p("lars_update", "params", params);
  const FlatList g("lars_update", "grads", grads, p);
  TAPER_CHECK(options.momentum != 0 || momentum_buffers.empty(),
              "lars_update: {} momentum_buffers without momentum", momentum_buffers.size());
  const FlatList b = options.momentum == 0 ? FlatList("lars_update", "momentum_buffers", {})
                                           : FlatList("lars_update", "momentum_buffers", momentum_buffers, p);
  check_controls("lars_update", p, controls);
  check_copies("lars_update", params, p, copies);
  if (!p.on_cpu()) {
    lars_update_gpu(p.tensors(), g.tensors(), b.tensors(), options, first_step, controls, copies);
  } else if (!is_skipped(controls)) {
    LarsOptions now = options;
    if (controls.lr.defined()) now.lr = item(controls.lr);
    if (controls.step.defined()) first_step = item(controls.step) == 1;
    lars_update_cpu(p.tensors(), g.tensors(), b.tensors(), now, first_step, copies);
  }
  b.finish_write();
  p.finish_write();
  finish_write(copies);
}

}  // namespace taper::ops
