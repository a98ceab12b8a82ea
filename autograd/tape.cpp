#include "taper/autograd/tape.h"

#include "taper/autograd/grad_mode.h"
#include "taper/autograd/in_place.h"
#include "taper/autograd/meta.h"
#include "taper/core/profile_events.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/op_call.h"

namespace taper {

const Tensor& Backward::grad(int index) const {
  Tensor& grad = grads_[size_t(index)];
  if (!grad.defined()) {
    const OutputInfo& info = node_.outputs()[size_t(index)];
    grad = ops::zeros(info.shape, {.dtype = info.dtype, .device = info.device});
  }
  return grad;
}

Tensor Backward::saved(size_t position) const {
  return node_.saved_[position].unpack(node_, position);
}

bool Backward::needs(size_t index) const {
  return node_.next_edges()[index].node != nullptr;
}

Grads FormulaNode::apply(Grads grads) {
  TAPER_CHECK(
      !released_,
      "backward: what {} had saved was freed by an earlier backward; pass retain_graph = true to that one",
      describe());
  if (Profiler::is_recording())
    for (const SavedTensor& saved : saved_) detail::note_bytes(saved.size_bytes());
  return formula_(Backward(*this, std::move(grads)));
}

void FormulaNode::release_saved() {
  released_ = !saved_.empty();
  saved_.clear();
}

Tape::Tape(std::string_view op, std::span<const Tensor> inputs) : scope_(op), op_(op) {
  if (scope_.is_recorded()) scope_.describe(ops::types_and_shapes(inputs));
  if (!GradMode::is_enabled()) return;
  for (const Tensor& input : inputs) recording_ = recording_ || (input.defined() && input.requires_grad());
  if (!recording_) return;
  if (scope_.is_recorded()) detail::note_bytes(inputs);
  edges_.reserve(inputs.size());
  for (const Tensor& input : inputs) edges_.push_back(detail::gradient_edge(input));
  if (AnomalyGuard::is_enabled()) call_ = fmt::format("{}({})", op, ops::types_and_shapes(inputs));
}

void Tape::record_anyway() {
  if (recording_ || !GradMode::is_enabled()) return;
  recording_ = true;
}

std::shared_ptr<FormulaNode> Tape::make(std::span<const Tensor> outputs, std::span<const Tensor> saved,
                                        Formula formula) {
  auto node = make_node<FormulaNode>(std::string(op_));
  node->set_next_edges(std::move(edges_));
  node->set_call(std::move(call_));
  node->formula_ = std::move(formula);
  node->first_order_only_ = first_order_only_;
  for (const Tensor& output : outputs) node->add_output(output);
  node->remember_stream();
  node->saved_.reserve(saved.size());
  for (const Tensor& tensor : saved) {
    int output_index = -1;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].is_same(tensor)) output_index = int(i);
    }
    node->saved_.emplace_back(tensor, *node, output_index);
  }
  return node;
}

void Tape::record_outputs(std::span<Tensor> outputs, std::span<const Tensor> saved, Formula formula) {
  if (scope_.is_recorded()) detail::note_bytes(outputs);
  const auto node = make(outputs, saved, std::move(formula));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (is_floating_point(outputs[i].dtype())) detail::set_history(outputs[i], node, int(i));
  }
}

void Tape::record_in_place_output(const Tensor& self, std::span<const Tensor> saved, Formula formula) {
  const auto node = make({&self, 1}, saved, std::move(formula));
  const detail::TapeMeta* meta = detail::meta(self);
  if (meta != nullptr && meta->base.defined())
    detail::rebase_view(self, node);
  else
    detail::set_history(self, node, 0);
}

void Tape::declare_view(const Tensor& parent, const Tensor& output) {
  detail::mark_view(parent, output);
}

void Tape::check_in_place(const Tensor& self) const {
  TAPER_CHECK(self.defined(), "{}: the tensor to write into is undefined", op_);
  TAPER_CHECK(!self.impl()->is_inference || !recording_,
              "{}: cannot write into a tensor made under inference_mode while recording; clone() it first",
              op_);
  if (!GradMode::is_enabled()) return;
  TAPER_CHECK(
      !(self.is_leaf() && self.requires_grad()),
      "{}: writing in place into a leaf that requires a gradient would lose its value; wrap the write in "
      "no_grad, or clone() it first",
      op_);
  const detail::TapeMeta* meta = detail::meta(self);
  if (meta != nullptr && meta->base.defined()) {
    TAPER_CHECK(
        !(meta->base.is_leaf() && meta->base.requires_grad()),
        "{}: writing in place into a view of a leaf that requires a gradient would lose its value; wrap "
        "the write in no_grad, or clone() the leaf first",
        op_);
  }
}

}  // namespace taper
