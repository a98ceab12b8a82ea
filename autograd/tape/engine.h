#pragma once  // spine 50 (docs/0-the-spine.md)
// The engine: walks the recorded graph from outputs to leaves, later operations first, each node once all its
// gradients have arrived. It runs in the calling thread, keeps its state on that thread, and so may run in
// several threads at once and inside itself (checkpointing). PyTorch's counterpart:
// torch/csrc/autograd/engine.cpp.

#include <functional>
#include <vector>

#include "taper/autograd/tape/node.h"

namespace taper {

struct BackwardOptions {
  bool retain_graph = false;  ///< keep saved tensors for another pass; implied by create_graph
  bool create_graph = false;  ///< record the backward pass itself, for higher derivatives
};

/// Adds the gradients of sum_i <outputs[i], gradients[i]> to the grad() of every leaf below; no grad() shares
/// memory with another or with `gradients`. An undefined gradient stands for 1 and needs a one-element
/// output; one of another floating-point dtype is converted. Throws Error if nothing requires a gradient, for
/// a gradient of another shape or on another device than its output, and for a graph that was freed.
/// With create_graph every grad() has a history, which leads to the leaf: a cycle that frees neither until
/// set_grad({}); warned of once. grad() makes none. (torch.autograd.backward)
void backward(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients = {},
              BackwardOptions options = {});

struct GradOptions {
  bool retain_graph = false;
  bool create_graph = false;
  bool allow_unused = false;  ///< return an undefined gradient for an input the outputs do not depend on
};

/// The gradients of the outputs with respect to `inputs` (leaves or intermediate results), touching no
/// grad(). Throws Error as backward(), and for an unused input unless allow_unused. (torch.autograd.grad)
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& gradients = {}, GradOptions options = {});

/// Runs on x's gradient during backward() and grad(); a defined result replaces it, and must have its shape
/// and device. After an in-place write x's hooks are still those of the tensor it was before. A hook may
/// register others, which run from the next pass on. (torch.Tensor.register_hook)
void register_hook(const Tensor& x, Node::TensorHook hook);
/// Runs after a leaf's grad() has been updated: where data parallelism and fused optimisers start. May
/// register others, as above. (torch.Tensor.register_post_accumulate_grad_hook)
void register_post_accumulate_hook(const Tensor& leaf, std::function<void(const Tensor& leaf)> hook);

/// Runs `function` once, at the end of the backward pass that this thread is in, when all gradients are there; of the
/// outer pass where passes run inside one another, as checkpoint()'s do. What it throws, backward() throws. Throws Error
/// outside a pass. (queue_callback in torch/csrc/autograd/engine.h)
void after_backward(std::function<void()> function);

namespace detail {
/// True while grad() runs in this thread, where leaves do not accumulate.
bool engine_is_capturing();
}  // namespace detail

}  // namespace taper
