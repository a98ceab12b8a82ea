#pragma once  // spine 42 (docs/0-the-spine.md)
// Node: one recorded operation, seen from its derivative. A node's inputs are the gradients of the
// operation's outputs; its edges lead to the nodes that take the gradients of the operation's inputs.
// PyTorch's counterparts: torch/csrc/autograd/function.h and edge.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "taper/autograd/tape/hooks.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"

namespace taper {

/// Gradients, one per input or output of an operation; undefined where nothing flows.
using Grads = std::vector<Tensor>;

/// Where the gradient of one operation input goes: slot `index` of `node`. Null node: no gradient wanted.
struct Edge {
  std::shared_ptr<Node> node;
  int index = 0;
};

/// What the engine must know of an operation's output to check and fill in its gradient.
struct OutputInfo {
  Shape shape;
  DType dtype = kFloat32;
  Device device;
};

class Node : public std::enable_shared_from_this<Node> {
 public:
  using TensorHook = std::function<Tensor(const Tensor& grad)>;
  using TensorObserver = std::function<void(const Tensor& grad)>;
  using NodeHook = std::function<void(const Grads& grad_inputs, const Grads& grad_outputs)>;

  explicit Node(std::string name);
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Gradients of the inputs, one for each edge, from gradients of the outputs; at least one of `grads` is
  /// defined.
  virtual Grads apply(Grads grads) = 0;
  /// Drops what was saved for apply(); called by the engine as it goes.
  virtual void release_saved() {}
  /// False if apply() is not itself made of recorded operations.
  virtual bool supports_create_graph() const { return true; }

  /// The forward operation's name: "conv2d".
  const std::string& name() const { return name_; }
  const std::vector<Edge>& next_edges() const { return next_edges_; }
  const std::vector<OutputInfo>& outputs() const { return outputs_; }
  /// Later operations have higher numbers; the engine runs the highest first.
  uint64_t sequence() const { return sequence_; }
  /// The stream the operation ran on, where its gradient runs too; none for operations on the CPU and for
  /// leaves.
  const std::optional<gpu::Stream>& stream() const { return stream_; }
  /// What the operation was called on, if the node was made in anomaly mode, else its name: "log(f32 [3,
  /// 4])".
  const std::string& call() const { return call_.empty() ? name_ : call_; }
  /// The call and what it returned, for error messages: "log(f32 [3, 4]) -> f32 [3, 4]".
  std::string describe() const;

  /// Runs after apply() with (gradients it returned, gradients it was given).
  void register_hook(NodeHook hook);
  /// Runs on the gradient of output `index` before apply(); a defined result replaces it.
  void register_tensor_hook(int index, TensorHook hook);
  /// Sees the gradient of output `index` as all tensor hooks have left it.
  void register_tensor_observer(int index, TensorObserver observer);

  void set_call(std::string call) { call_ = std::move(call); }

  // Run by the engine.
  bool has_hooks() const { return all_hooks_ != nullptr && !all_hooks_->of_node.empty(); }
  virtual void run_tensor_hooks(Grads& grads) const;
  void run_hooks(const Grads& grad_inputs, const Grads& grad_outputs) const;

 protected:
  /// Makes this the node of an operation that was just run on its device's current stream: `edges` lead where
  /// the gradients of its inputs go.
  void set_up(std::vector<Edge> edges, std::span<const Tensor> outputs);
  void add_output(const Tensor& output);
  /// Gradients of the outputs are converted to `dtype`, not to the outputs' own.
  void take_gradients_in(DType dtype);
  /// Replaces grads[index] by what `hook` makes of it.
  void run_tensor_hook(const TensorHook& hook, size_t index, Grads& grads) const;

  uint64_t sequence_;

 private:
  std::string name_;
  std::string call_;  ///< with arguments and options, kept in anomaly mode
  std::vector<Edge> next_edges_;
  std::vector<OutputInfo> outputs_;
  std::optional<gpu::Stream> stream_;
  struct AllHooks {
    Hooks<std::pair<int, TensorHook>> of_tensors;
    Hooks<std::pair<int, TensorObserver>> observers;
    Hooks<NodeHook> of_node;
  };
  AllHooks& all_hooks();
  std::unique_ptr<AllHooks> all_hooks_;  ///< null for most nodes
};

namespace detail {
/// Deletes a node without recursing into the chain of nodes it keeps alive.
void delete_node(Node* node);
}  // namespace detail

template <class T, class... Args>
std::shared_ptr<T> make_node(Args&&... args) {
  return std::shared_ptr<T>(new T(std::forward<Args>(args)...), detail::delete_node);
}

}  // namespace taper
