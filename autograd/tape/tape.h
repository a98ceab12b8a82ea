#pragma once  // spine 44 (docs/0-the-spine.md)
// The doorway of the ops: every differentiable op passes here with its name, its inputs, its options and its
// results, whether a gradient is recorded or not. Three moves make an op differentiable:
//
//   Tensor leaky_relu(const Tensor& x, double slope) {
//     // 1. Does anyone want a gradient?
//     Tape tape("leaky_relu", {x}, {{"slope", slope}});
//     // 2. Compute, and save what backward needs.
//     return tape.record(ops::leaky_relu(x, slope), {x}, [slope](const Backward& bw) -> Grads {
//       // 3. How gradients flow back.
//       return {where(gt(bw.saved(0), 0), bw.grad(), mul(bw.grad(), slope))};
//     });
//   }
//
// Who listens at the doorway: memory reports and profiles (OpScope), anomaly mode (AnomalyGuard), OpTrace.
// What changes an op's inputs belongs before it.
//
// A formula made of differentiable functions can itself be differentiated (create_graph). One that calls
// ops:: on its gradients or saved tensors declares tape.first_order_only(). Formulas capture numbers and
// shapes, never tensors: those go through `saved`, where the engine can check and free them.
//
// PyTorch's counterparts: the dispatcher, where each listener is a key (c10/core/DispatchKeySet.h,
// ATen/core/dispatch/Dispatcher.h); the generated VariableType and derivatives.yaml.

#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "taper/autograd/tape/node.h"
#include "taper/autograd/tape/op_options.h"
#include "taper/autograd/tape/saved_tensor.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/tensor.h"

namespace taper {

class FormulaNode;
struct HeardCall;
struct DropHeardCall {
  void operator()(HeardCall* call) const noexcept;
};

/// A tensor of the caller's, for the length of a call.
class TensorRef {
 public:
  TensorRef(const Tensor& tensor) : tensor_(&tensor) {}
  operator const Tensor&() const { return *tensor_; }

 private:
  const Tensor* tensor_;
};

/// What a derivative formula sees.
class Backward {
 public:
  // All throw Error for an output, a tensor or an input that the operation does not have.

  /// The gradient of output `index`; zeros if nothing flowed there.
  const Tensor& grad(int index = 0) const;
  /// Whether any gradient reached output `index`.
  bool has_grad(int index) const;
  /// The tensor saved at `position`. Throws Error if it was overwritten since.
  Tensor saved(size_t position) const;
  /// Whether the gradient of input `index` is wanted.
  bool needs(size_t index) const;
  /// The dtype that the gradient of input `index` will be converted to: the input's own, or a parameter's f32
  /// where the input is its copy (weight_copy.h). Asked for gradients that are wanted.
  DType wanted_dtype(size_t index) const;

 private:
  friend class FormulaNode;
  Backward(FormulaNode& node, Grads grads) : node_(node), grads_(std::move(grads)) {}
  /// The arrived gradient of output `index`, undefined if there is none.
  Tensor& arrived(int index) const;
  FormulaNode& node_;
  mutable Grads grads_;
};

/// Returns one gradient for each input of the operation, undefined where none flows.
using Formula = std::function<Grads(const Backward&)>;

class Tape {
 public:
  /// Looks at the inputs (undefined ones are optional arguments left out) and at the thread's grad mode. `op`
  /// is a literal: reports name it after the Tape is gone. `options` may refer to temporaries.
  Tape(std::string_view op, std::initializer_list<TensorRef> inputs, Options options = {});
  /// `reaches_others`: the operation depends on tensors besides its inputs that want a gradient, and its
  /// formula brings it to them.
  Tape(std::string_view op, std::span<const Tensor> inputs, Options options = {},
       bool reaches_others = false);

  /// Whether an operation on these inputs would be recorded.
  static bool would_record(std::initializer_list<TensorRef> inputs);
  /// False when record() will store no formula.
  bool recording() const { return recording_; }
  /// The formula is not made of differentiable functions: create_graph through it is an error.
  void first_order_only() { first_order_only_ = true; }
  /// The gradients of the outputs arrive in `dtype`, not in the outputs' own.
  void take_gradients_in(DType dtype) { gradient_dtype_ = dtype; }

  /// Makes `output` (or each floating-point one of `outputs`) the result of the operation. `saved` may hold
  /// inputs, outputs and undefined tensors.
  template <class F>
  Tensor record(Tensor output, std::initializer_list<TensorRef> saved, F&& formula) {
    if (wants_outputs_) record_outputs({&output, 1}, saved, std::forward<F>(formula));
    return output;
  }
  template <class F>
  std::vector<Tensor> record(std::vector<Tensor> outputs, std::initializer_list<TensorRef> saved,
                             F&& formula) {
    if (wants_outputs_) record_outputs(outputs, saved, std::forward<F>(formula));
    return outputs;
  }
  /// As record(), for outputs that code of the user's made from `inputs`. One that is a tensor of others (an
  /// input, a captured parameter, a view) is returned as a view of that, so that no history but its own
  /// changes; the view may be read, and not written to while recording. Throws Error for an undefined one.
  std::vector<Tensor> record_function(std::vector<Tensor> outputs, std::span<const Tensor> inputs,
                                      std::span<const Tensor> saved, Formula formula);
  /// As record(), and declares the output a view of `parent`.
  template <class F>
  Tensor record_view(const Tensor& parent, Tensor output, F&& formula) {
    if (wants_outputs_) record_outputs({&output, 1}, {}, std::forward<F>(formula));
    declare_view(parent, output);
    return output;
  }

  /// Before an in-place write: throws Error if `self` is a leaf that wants a gradient or a view of one, or a
  /// view whose history could not follow the write: one made under no_grad or by a function of the user's.
  void check_in_place(const Tensor& self) const;
  /// After it (the op has bumped the version): makes the operation self's history. `self` must be the first
  /// input.
  template <class F>
  void record_in_place(const Tensor& self, std::initializer_list<TensorRef> saved, F&& formula) {
    if (wants_outputs_) record_in_place_output(self, saved, std::forward<F>(formula));
  }

 private:
  using Saved = std::span<const TensorRef>;

  template <class Inputs>
  void enter(const Inputs& inputs, Options options, bool reaches_others);
  template <class Inputs>
  void tell_listeners(const Inputs& inputs, Options options);
  std::shared_ptr<FormulaNode> make(std::span<const Tensor> outputs, Saved saved, Formula formula);
  void record_outputs(std::span<Tensor> outputs, Saved saved, Formula formula);
  void record_in_place_output(const Tensor& self, Saved saved, Formula formula);
  void trace_outputs(std::span<const Tensor> outputs);
  static void declare_view(const Tensor& parent, const Tensor& output);

  OpScope scope_;  // memory asked for while the Tape lives is the operation's
  std::string_view op_;
  std::vector<Edge> edges_;
  std::unique_ptr<HeardCall, DropHeardCall> call_;  // null unless a listener waits for the outputs
  bool recording_ = false;
  bool wants_outputs_ = false;  // recording, or for a listener
  bool first_order_only_ = false;
  std::optional<DType> gradient_dtype_;
};

/// A node whose derivative is a formula over saved tensors: every recorded operation but leaves and views of
/// written memory.
class FormulaNode final : public Node {
 public:
  using Node::Node;
  Grads apply(Grads grads) override;
  void release_saved() override;
  bool supports_create_graph() const override { return !first_order_only_; }

 private:
  friend class Tape;
  friend class Backward;
  Formula formula_;
  std::vector<SavedTensor> saved_;
  bool released_ = false;
  bool first_order_only_ = false;
};

}  // namespace taper
