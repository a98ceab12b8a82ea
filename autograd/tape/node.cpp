#include "taper/autograd/tape/node.h"

#include "taper/autograd/tape/admit_gradient.h"

namespace taper {
namespace {

uint64_t next_sequence() {
  thread_local uint64_t sequence = 0;
  return sequence++;
}

}  // namespace

Node::Node(std::string name) : sequence_(next_sequence()), name_(std::move(name)) {}

void Node::set_up(std::vector<Edge> edges, std::span<const Tensor> outputs) {
  next_edges_ = std::move(edges);
  for (const Tensor& output : outputs) {
    add_output(output);
    if (output.device().is_cuda()) stream_ = gpu::current_stream(output.device().index);
  }
}

void Node::add_output(const Tensor& output) {
  outputs_.push_back({output.shape(), output.dtype(), output.device()});
}

void Node::take_gradients_in(DType dtype) {
  for (OutputInfo& output : outputs_) output.dtype = dtype;
}

std::string Node::describe() const {
  std::string text = call();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? " -> " : ", ", outputs_[i].dtype, outputs_[i].shape);
  }
  return text;
}

void Node::run_tensor_hook(const TensorHook& hook, size_t index, Grads& grads) const {
  Tensor& grad = grads[index];
  Tensor replacement = hook(grad);
  if (!replacement.defined()) return;
  grad = detail::admit_gradient(std::move(replacement), outputs_[index], [&] {
    return fmt::format("tensor hook on {}: the hook returned", describe());
  });
}

Node::AllHooks& Node::all_hooks() {
  if (!all_hooks_) all_hooks_ = std::make_unique<AllHooks>();
  return *all_hooks_;
}

void Node::register_hook(NodeHook hook) {
  all_hooks().of_node.add(std::move(hook));
}

void Node::register_tensor_hook(int index, TensorHook hook) {
  all_hooks().of_tensors.add({index, std::move(hook)});
}

void Node::register_tensor_observer(int index, TensorObserver observer) {
  all_hooks().observers.add({index, std::move(observer)});
}

void Node::run_tensor_hooks(Grads& grads) const {
  if (all_hooks_ == nullptr) return;
  all_hooks_->of_tensors.for_each([&](const auto& entry) {
    const auto& [index, hook] = entry;
    if (grads[size_t(index)].defined()) run_tensor_hook(hook, size_t(index), grads);
  });
  all_hooks_->observers.for_each([&](const auto& entry) {
    const auto& [index, observer] = entry;
    if (grads[size_t(index)].defined()) observer(grads[size_t(index)]);
  });
}

void Node::run_hooks(const Grads& grad_inputs, const Grads& grad_outputs) const {
  if (all_hooks_ == nullptr) return;
  all_hooks_->of_node.for_each([&](const NodeHook& hook) { hook(grad_inputs, grad_outputs); });
}

void detail::delete_node(Node* node) {
  // Deleting a node may drop the last handle on the next one, and so on down a chain of any length. The
  // outermost call collects them and deletes one by one. As deleteNode in torch/csrc/autograd/function.cpp.
  thread_local std::vector<Node*>* pending = nullptr;
  if (pending != nullptr) {
    pending->push_back(node);
    return;
  }
  std::vector<Node*> queue{node};
  pending = &queue;
  while (!queue.empty()) {
    Node* last = queue.back();
    queue.pop_back();
    delete last;
  }
  pending = nullptr;
}

}  // namespace taper
