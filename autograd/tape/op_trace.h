#pragma once
// The ops that a thread passes through the doorway (tape.h), written down in order: what a training step
// does, as text, and what an exporter translates. PyTorch's counterparts: torch/csrc/jit/frontend/tracer.h,
// and torch.utils._python_dispatch.TorchDispatchMode for a list by hand.
//
//   OpTrace trace;
//   const Tensor y = model(x);
//   fmt::print("{}", trace.text({{"x", x}}));

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "taper/autograd/tape/op_options.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/tensor.h"

namespace taper {

/// A tensor as a trace knows it. Numbers are never used twice, even after the tensor is gone.
struct TracedTensor {
  int tensor = -1;   ///< equal for handles on one tensor and for what detach() makes of it; -1 if undefined
  int storage = -1;  ///< equal for tensors that share memory: a view and its base
  DType dtype = kFloat32;
  Shape shape;
};

struct TracedOp {
  std::string_view name;
  std::string_view within;  ///< the scope around it: "relu backward", "custom function"; empty outside all
  std::vector<TracedTensor> inputs;
  std::vector<NamedOption> options;
  std::vector<std::pair<std::string_view, TracedTensor>> others;  ///< inputs that no gradient flows to
  std::vector<TracedTensor> outputs;                              ///< an in-place op's is its first input
};

/// Lists the ops of this thread while it lives. Inside another OpTrace, that one pauses. Keeps no tensor
/// alive.
///
/// An op is listed once it has its result: one that runs others inside comes after them, and one that throws
/// is not listed. What is not differentiable (comparisons, argmax, randn) does not pass the doorway: its
/// results appear as tensors that no op made.
class OpTrace {
 public:
  OpTrace();
  ~OpTrace();
  OpTrace(const OpTrace&) = delete;
  OpTrace& operator=(const OpTrace&) = delete;

  const std::vector<TracedOp>& ops() const { return ops_; }
  /// Returns the number of a tensor that an op has used or made; -1 for others.
  int number(const Tensor& x) const;

  /// Returns one line for each op, "%2: f32 [4, 8] = relu(%1)", indented under the scope around it. Tensors
  /// are called as in `names`, else by number. Each has its dtype and shape where it appears first.
  std::string text(const std::vector<std::pair<std::string, Tensor>>& names = {}) const;

 private:
  friend class Tape;
  /// The one that lists this thread's ops, null if none.
  static OpTrace* current();
  TracedTensor input(const Tensor& x);
  TracedTensor output(const Tensor& x);

  template <class T>
  using Numbers = std::map<std::weak_ptr<T>, int, std::owner_less<>>;

  OpTrace* outer_;
  detail::DoorwayListener listens_;
  Numbers<TensorImpl> tensors_;
  Numbers<Storage> storages_;
  struct Layout {
    int storage;
    int64_t offset;
    Shape shape;
    Strides strides;
    DType dtype;
    bool operator==(const Layout&) const = default;
  };
  Layout layout_of(const Tensor& x);
  std::vector<Layout> layouts_;  // by the tensors' numbers
  std::vector<TracedOp> ops_;
};

}  // namespace taper
