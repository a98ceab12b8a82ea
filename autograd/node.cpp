#include "taper/autograd/node.h"

namespace taper {
namespace {

uint64_t next_sequence() {
  thread_local uint64_t sequence = 0;
  return sequence++;
}

}  // namespace

Node::Node(std::string name) : sequence_(next_sequence()), name_(std::move(name)) {}

int Node::add_output(const Tensor& output) {
  outputs_.push_back({output.shape(), output.dtype(), output.device()});
  return int(outputs_.size()) - 1;
}

void Node::remember_stream() {
  for (const OutputInfo& output : outputs_) {
    if (output.device.is_cuda()) stream_ = gpu::current_stream(output.device.index);
  }
}

std::string Node::describe() const {
  std::string text = call_.empty() ? name_ : call_;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? " -> " : ", ", outputs_[i].dtype, outputs_[i].shape);
  }
  return text;
}

void Node::run_tensor_hooks(Grads& grads) const {
  for (const auto& [index, hook] : tensor_hooks_) {
    Tensor& grad = grads[size_t(index)];
    if (!grad.defined()) continue;
    if (const Tensor replacement = hook(grad); replacement.defined()) {
      TAPER_CHECK(replacement.shape() == grad.shape(),
                  "tensor hook on an output of {}: returned shape {} for a gradient of shape {}", name_,
                  replacement.shape(), grad.shape());
      grad = replacement;
    }
  }
}

void Node::run_hooks(const Grads& grad_inputs, const Grads& grad_outputs) const {
  for (const NodeHook& hook : hooks_) hook(grad_inputs, grad_outputs);
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
