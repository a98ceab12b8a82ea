#include "taper/autograd/tape/checkpoint.h"

#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/tape.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/draw_log.h"
#include "taper/ops/op_call.h"

namespace taper {
namespace {

using Segment = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

/// What backward() needs to run the segment again.
struct Rerun {
  Segment segment;
  DrawLog draws;
  size_t input_count = 0, output_count = 0;
  detail::AutocastMode autocast = detail::autocast_mode;  ///< backward() has it switched off

  Grads operator()(const Backward& bw) const {
    TAPER_CHECK(!detail::engine_is_capturing(),
                "checkpoint: grad() cannot reach parameters inside a checkpointed segment; use backward()");
    std::vector<Tensor> leaves;
    for (size_t i = 0; i < input_count; ++i) {
      Tensor leaf = bw.saved(i);
      if (leaf.defined()) leaf = leaf.detach();
      if (bw.needs(i)) leaf.set_requires_grad();
      leaves.push_back(leaf);
    }
    const std::vector<Tensor> outputs = run(leaves);
    std::vector<Tensor> roots, grads;
    for (size_t i = 0; i < output_count; ++i) {
      if (!bw.has_grad(int(i)) || !outputs[i].requires_grad()) continue;
      const Tensor& grad = bw.grad(int(i));
      TAPER_CHECK(outputs[i].shape() == grad.shape(),
                  "checkpoint: the segment's output {} had shape {} in forward and has {} when backward runs "
                  "the segment again; a segment must do the same each time",
                  i, grad.shape(), outputs[i].shape());
      roots.push_back(outputs[i]);
      grads.push_back(grad);
    }
    if (!roots.empty()) backward(roots, grads);
    Grads result;
    for (size_t i = 0; i < input_count; ++i) result.push_back(bw.needs(i) ? leaves[i].grad() : Tensor());
    return result;
  }

  std::vector<Tensor> run(const std::vector<Tensor>& inputs) const {
    const EnableGradGuard recording;
    const detail::AutocastModeGuard as_before(autocast);
    const DrawLog::Replay replay(draws, "checkpoint");
    std::vector<Tensor> outputs = segment(inputs);
    replay.check_finished();
    TAPER_CHECK(
        outputs.size() == output_count,
        "checkpoint: the segment returned {} tensors in forward and {} when backward runs it again; a "
        "segment must do the same each time",
        output_count, outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i)
      TAPER_CHECK(outputs[i].defined(), "checkpoint: the segment's output {} is undefined when it runs again",
                  i);
    return outputs;
  }
};

}  // namespace

std::vector<Tensor> checkpoint(std::function<std::vector<Tensor>(const std::vector<Tensor>&)> segment,
                               const std::vector<Tensor>& inputs) {
  DrawLog draws;
  bool reaches_gradient = false;
  std::vector<Tensor> outputs;
  {
    const OpScope scope("checkpoint");
    if (scope.is_recorded()) scope.describe(ops::types_and_shapes(inputs));
    const GradModeGuard no_grad(detail::TapeMode{.enabled = false, .met_gradient = &reaches_gradient});
    const DrawLog::Recording recording(draws);
    outputs = segment(inputs);
  }
  for (const Tensor& output : outputs) {
    reaches_gradient = reaches_gradient || (output.defined() && output.requires_grad());
  }
  Tape tape("checkpoint", inputs, {}, reaches_gradient);
  tape.first_order_only();
  Rerun rerun{std::move(segment), std::move(draws), inputs.size(), outputs.size()};
  return tape.record_function(std::move(outputs), inputs, inputs, std::move(rerun));
}

Tensor checkpoint(std::function<Tensor(const Tensor&)> segment, const Tensor& input) {
  return checkpoint(
      [segment = std::move(segment)](const std::vector<Tensor>& inputs) {
        return std::vector<Tensor>{segment(inputs[0])};
      },
      {input})[0];
}

}  // namespace taper
