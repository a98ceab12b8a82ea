#include "taper/autograd/tape/tape.h"  // spine 45 (docs/0-the-spine.md)

#include <algorithm>

#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/in_place.h"
#include "taper/autograd/tape/meta.h"
#include "taper/autograd/tape/op_trace.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/profiler.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/op_call.h"

namespace taper {

/// What listeners keep of a call until it has its outputs.
struct HeardCall {
  std::string text;          ///< for the node, in anomaly mode
  OpTrace* trace = nullptr;  ///< who lists it, if anyone
  TracedOp traced;
};

namespace {

/// "conv2d(f32 [8, 3, 32, 32], f32 [64, 3, 3, 3], none; stride 2, padding 1)".
std::string call_text(std::string_view op, const std::vector<const Tensor*>& inputs,
                      const OptionList& options) {
  std::string text;
  const auto append = [&](std::string_view more) {
    if (!more.empty()) text += fmt::format("{}{}", text.empty() ? "; " : ", ", more);
  };
  for (const NamedOption& option : options.values) append(to_text(option));
  for (const auto& [name, tensor] : options.tensors)
    append(fmt::format("{} {} {}", name, tensor.dtype(), tensor.shape()));
  return fmt::format("{}({}{})", op, ops::types_and_shapes(inputs), text);
}

bool wants_gradient(const Tensor& input) {
  return input.defined() && input.requires_grad();
}

/// `output`, which a user's function returned, as a tensor that is nobody else's: itself, or an alias that
/// the tape knows as a view of whatever tensor shares its memory.
Tensor own_output(Tensor output, std::span<const Tensor> inputs, std::span<const Tensor> saved) {
  const auto shares_memory = [&](const Tensor& x) { return x.defined() && x.storage() == output.storage(); };
  const auto is_output = [&](const Tensor& x) { return x.is_same(output); };
  Tensor parent;
  if (detail::meta(output) != nullptr) {
    parent = output;  // a captured parameter, a view, an input
  } else if (const auto input = std::find_if(inputs.begin(), inputs.end(), shares_memory);
             input != inputs.end()) {
    parent = *input;
  } else if (output.impl().use_count() > 1 + std::count_if(saved.begin(), saved.end(), is_output)) {
    parent = output;  // the function has kept it, or returns it twice
  }
  if (!parent.defined()) return output;
  Tensor alias = views::alias(output);
  detail::mark_view(parent, alias, detail::ViewOrigin::kFunction);
  return alias;
}

}  // namespace

Tensor& Backward::arrived(int index) const {
  TAPER_CHECK(index >= 0 && size_t(index) < grads_.size(),
              "backward of {}: the formula asks for the gradient of output {}, the operation has {} outputs",
              node_.describe(), index, grads_.size());
  return grads_[size_t(index)];
}

bool Backward::has_grad(int index) const {
  return arrived(index).defined();
}

const Tensor& Backward::grad(int index) const {
  Tensor& grad = arrived(index);
  if (!grad.defined()) {
    const OutputInfo& info = node_.outputs()[size_t(index)];
    grad = ops::zeros(info.shape, {.dtype = info.dtype, .device = info.device});
  }
  return grad;
}

Tensor Backward::saved(size_t position) const {
  TAPER_CHECK(position < node_.saved_.size(),
              "backward of {}: the formula asks for saved tensor {}, the operation has saved {}",
              node_.describe(), position, node_.saved_.size());
  return node_.saved_[position].unpack(node_, position);
}

bool Backward::needs(size_t index) const {
  TAPER_CHECK(
      index < node_.next_edges().size(),
      "backward of {}: the formula asks whether input {} needs a gradient, the operation has {} inputs",
      node_.describe(), index, node_.next_edges().size());
  return node_.next_edges()[index].node != nullptr;
}

DType Backward::wanted_dtype(size_t index) const {
  TAPER_CHECK(needs(index), "backward of {}: no gradient of input {} is wanted", node_.describe(), index);
  const Edge& edge = node_.next_edges()[index];
  return edge.node->outputs()[size_t(edge.index)].dtype;
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

template <class Inputs>
[[gnu::always_inline]] inline void Tape::enter(const Inputs& inputs, Options options, bool reaches_others) {
  const detail::TapeMode mode = detail::tape_mode();
  if (mode.enabled || mode.met_gradient != nullptr) {
    bool wanted = reaches_others;
    for (const Tensor& input : inputs) wanted = wanted || wants_gradient(input);
    recording_ = wants_outputs_ = wanted && mode.enabled;
    if (wanted && !mode.enabled) *mode.met_gradient = true;
  }
  if (scope_.is_heard()) [[unlikely]]
    tell_listeners(inputs, options);
  if (!recording_) return;
  edges_.reserve(inputs.size());
  for (const Tensor& input : inputs) edges_.push_back(detail::gradient_edge(input));
}

Tape::Tape(std::string_view op, std::initializer_list<TensorRef> inputs, Options options)
    : scope_(op), op_(op) {
  enter(inputs, options, false);
}

Tape::Tape(std::string_view op, std::span<const Tensor> inputs, Options options, bool reaches_others)
    : scope_(op), op_(op) {
  enter(inputs, options, reaches_others);
}

void DropHeardCall::operator()(HeardCall* call) const noexcept {
  delete call;
}

bool Tape::would_record(std::initializer_list<TensorRef> inputs) {
  return GradMode::is_enabled() && std::any_of(inputs.begin(), inputs.end(), wants_gradient);
}

template <class Inputs>
void Tape::tell_listeners(const Inputs& inputs, Options options) {
  std::vector<const Tensor*> pointers;
  for (const Tensor& input : inputs) pointers.push_back(&input);
  if (scope_.is_recorded()) {
    scope_.describe(ops::types_and_shapes(pointers));
    for (const Tensor* input : pointers)
      if (recording_ && input->defined()) detail::note_bytes(int64_t(input->size_bytes()));
  }
  OpTrace* const trace = OpTrace::current();
  const bool keeps_text = recording_ && AnomalyGuard::is_enabled();
  if (trace == nullptr && !keeps_text) return;
  OptionList list;
  for (const Option& option : options) option.list(list);
  call_.reset(new HeardCall);
  if (keeps_text) call_->text = call_text(op_, pointers, list);
  if (trace == nullptr) return;
  wants_outputs_ = true;
  call_->trace = trace;
  TracedOp& traced = call_->traced;
  traced.name = op_;
  traced.within = scope_.outer();
  for (const Tensor* input : pointers) traced.inputs.push_back(trace->input(*input));
  for (const auto& [name, tensor] : list.tensors) traced.others.emplace_back(name, trace->input(tensor));
  traced.options = std::move(list.values);
}

void Tape::trace_outputs(std::span<const Tensor> outputs) {
  if (call_ == nullptr || call_->trace == nullptr || call_->trace != OpTrace::current()) return;
  for (const Tensor& output : outputs) call_->traced.outputs.push_back(call_->trace->output(output));
  call_->trace->ops_.push_back(std::move(call_->traced));
}

std::shared_ptr<FormulaNode> Tape::make(std::span<const Tensor> outputs, Saved saved, Formula formula) {
  auto node = make_node<FormulaNode>(std::string(op_));
  node->set_up(std::move(edges_), outputs);
  if (gradient_dtype_) node->take_gradients_in(*gradient_dtype_);
  if (call_ != nullptr) node->set_call(std::move(call_->text));
  node->formula_ = std::move(formula);
  node->first_order_only_ = first_order_only_;
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

void Tape::record_outputs(std::span<Tensor> outputs, Saved saved, Formula formula) {
  if (scope_.is_heard()) [[unlikely]] {
    trace_outputs(outputs);
    if (scope_.is_recorded() && recording_) detail::note_bytes(outputs);
  }
  if (!recording_) return;
  const auto node = make(outputs, saved, std::move(formula));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (is_floating_point(outputs[i].dtype())) detail::set_history(outputs[i], node, int(i));
  }
}

std::vector<Tensor> Tape::record_function(std::vector<Tensor> outputs, std::span<const Tensor> inputs,
                                          std::span<const Tensor> saved, Formula formula) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    TAPER_CHECK(outputs[i].defined(), "{}: output {} is an undefined tensor", op_, i);
    outputs[i] = own_output(std::move(outputs[i]), inputs, saved);
  }
  const std::vector<TensorRef> references(saved.begin(), saved.end());
  if (wants_outputs_) record_outputs(outputs, references, std::move(formula));
  return outputs;
}

void Tape::record_in_place_output(const Tensor& self, Saved saved, Formula formula) {
  if (scope_.is_heard()) [[unlikely]]
    trace_outputs({&self, 1});
  if (!recording_ || !is_floating_point(self.dtype())) return;
  const auto node = make({&self, 1}, saved, std::move(formula));
  const detail::TapeMeta* meta = detail::meta(self);
  if (meta != nullptr && meta->base.defined())
    detail::rebase_view(self, node);
  else
    detail::set_history(self, node, 0);
}

void Tape::declare_view(const Tensor& parent, const Tensor& output) {
  using enum detail::ViewOrigin;
  detail::mark_view(parent, output, GradMode::is_enabled() ? kRecorded : kUnrecorded);
}

void Tape::check_in_place(const Tensor& self) const {
  TAPER_CHECK(self.defined(), "{}: the tensor to write into is undefined", op_);
  const bool recorded = recording_ && is_floating_point(self.dtype());
  TAPER_CHECK(!self.impl()->is_inference || !recorded,
              "{}: cannot write into a tensor made under inference_mode while recording; clone() it first",
              op_);
  if (!GradMode::is_enabled()) return;
  TAPER_CHECK(
      !(self.is_leaf() && self.requires_grad()),
      "{}: writing in place into a leaf that requires a gradient would lose its value; wrap the write in "
      "no_grad, or clone() it first",
      op_);
  const detail::TapeMeta* meta = detail::meta(self);
  if (meta == nullptr || !meta->base.defined()) return;
  const bool base_wants = meta->base.requires_grad();
  TAPER_CHECK(
      !(meta->base.is_leaf() && base_wants),
      "{}: writing in place into a view of a leaf that requires a gradient would lose its value; wrap "
      "the write in no_grad, or clone() the leaf first",
      op_);
  if (!recorded && !base_wants) return;
  TAPER_CHECK(meta->origin != detail::ViewOrigin::kUnrecorded,
              "{}: writing in place, while recording, into a view that was made under no_grad: the tape "
              "cannot follow the write to the tensor behind it; make the view and write to it both inside "
              "no_grad, or both outside",
              op_);
  TAPER_CHECK(meta->origin != detail::ViewOrigin::kFunction,
              "{}: writing in place into a view that a custom function or checkpoint returned (an input "
              "returned as it was is one) would replace the function's derivative; clone() it first",
              op_);
}

}  // namespace taper
