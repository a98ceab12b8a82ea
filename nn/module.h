#pragma once
// Module: something with parameters that turns a tensor into a tensor, made of smaller modules. A model names
// its parts where it declares them, and everything else (names, counts, saving, moving) follows from that
// tree:
//
//   struct Perceptron : Module {
//     Linear& hidden = register_module<Linear>("hidden", 64, 32);
//     Linear& output = register_module<Linear>("output", 32, 10);
//     Tensor forward(const Tensor& x) override { return output(relu(hidden(x))); }
//     std::string type_name() const override { return "Perceptron"; }
//   };
//
// PyTorch's counterparts: torch/nn/modules/module.py, torch/csrc/api/include/torch/nn/module.h.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/nn/hooks.h"
#include "taper/nn/tensor_map.h"

namespace taper {

class Module;
using NamedModules = std::vector<std::pair<std::string, Module*>>;

/// What load_state_dict() could not match.
struct LoadReport {
  struct ShapeMismatch {
    std::string name;
    Shape found;   ///< in what was given
    Shape needed;  ///< by the module
  };
  std::vector<std::string> missing;     ///< the module has them, what was given does not
  std::vector<std::string> unexpected;  ///< the other way round
  std::vector<ShapeMismatch> mismatched;

  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  /// One line; long lists are shortened. If a prefix such as "module." is all that parts the missing names
  /// from the unexpected ones, it says so.
  std::string str() const;
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // its parts hold references into it
  Module& operator=(const Module&) = delete;

  // ---- Running ----

  /// forward() between the hooks: how modules are called.
  Tensor operator()(const Tensor& x);
  virtual Tensor forward(const Tensor& x) = 0;

  /// Runs before forward(); a defined result replaces the input.
  HookHandle register_forward_pre_hook(ForwardPreHook hook);
  /// Runs after forward(); a defined result replaces the output.
  HookHandle register_forward_hook(ForwardHook hook);

  /// Whether anyone was promised to see this module's own input and output.
  bool has_hooks() const { return !pre_hooks_.empty() || !hooks_.empty(); }

  /// Training or evaluation: what dropout and batch norm do. Modules start in training mode.
  void train(bool training = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }

  // ---- What it is made of; names are dotted paths ("layer1.0.conv1.weight"), in order of registration ----

  /// Each tensor once, even if two modules share it. recurse = false leaves out the parts' tensors.
  NamedTensors named_parameters(bool recurse = true) const;
  NamedTensors named_buffers(bool recurse = true) const;
  std::vector<Tensor> parameters() const;
  std::vector<Tensor> buffers() const;
  /// The direct parts.
  NamedModules named_children() const;
  /// This module under the name "", then all below it, parents before children.
  NamedModules named_modules();
  /// Elements in all parameters.
  int64_t parameter_count() const;

  /// Calls `function` on every module, children before parents.
  void apply(const std::function<void(Module&)>& function);

  // ---- Changing it ----

  /// Converts floating-point parameters, their gradients and buffers, in place: optimisers and other holders
  /// of these tensors see the change. Throws Error for a dtype that is not floating-point.
  void to(DType dtype);
  /// Moves all parameters, gradients and buffers, in place.
  void to(Device device);
  /// Drops the gradients, or fills those that exist with zeros.
  void zero_grad(bool set_to_none = true);
  /// Freezes or thaws all parameters.
  void set_requires_grad(bool requires_grad);

  /// Parameters and buffers by name, sharing memory with the module; what save_safetensors takes.
  TensorMap state_dict() const;
  /// Copies values into the parameters and buffers of the same names and shapes, converting dtype and device.
  /// strict: throws Error naming everything that is missing, unexpected or of another shape, and changes
  /// nothing. Otherwise skips those and says so in the report. Buffers that are InState::kOptional
  /// are never missing.
  LoadReport load_state_dict(const TensorMap& state, bool strict = true);

  // ---- For summaries ----

  /// The class's name: "Conv2d".
  virtual std::string type_name() const = 0;
  /// Additions and multiplications (a multiply-add counts as two) of forward(), not counting submodules.
  virtual int64_t flops(const Tensor& /*input*/, const Tensor& /*output*/) const { return 0; }

 protected:
  /// Makes a part and owns it. Throws Error if the name is taken, empty, or holds a dot.
  template <class M, class... Args>
  M& register_module(const std::string& name, Args&&... args) {
    return register_module(name, std::make_shared<M>(std::forward<Args>(args)...));
  }
  /// As above for a part that exists.
  template <class M>
  M& register_module(const std::string& name, std::shared_ptr<M> module) {
    M& part = *module;
    check_name(name);
    children_.push_back({name, std::move(module)});
    return part;
  }
  /// As above for a part that may be left out: null registers nothing and is returned.
  template <class M>
  M* register_optional(const std::string& name, std::shared_ptr<M> module) {
    return module ? &register_module(name, std::move(module)) : nullptr;
  }
  // A module keeps a handle of its own on what is registered: `weight = other` afterwards makes the member
  // another tensor, while the module goes on training, saving and moving the first. To change values, write
  // them: weight.copy_(other).

  /// A tensor to be trained. An undefined tensor (no bias) is passed through without being registered.
  Tensor register_parameter(const std::string& name, Tensor tensor);
  /// Whether a state that is loaded must have a buffer. Where it may lack it, the buffer keeps its value.
  enum class InState { kRequired, kOptional };
  /// A tensor that is saved and moved with the module but not trained.
  Tensor register_buffer(const std::string& name, Tensor tensor, InState in_state = InState::kRequired);

  /// Puts the hooks around another way of calling the module: run_with_hooks(x, [&](const Tensor& in) {...}).
  Tensor run_with_hooks(const Tensor& x, const std::function<Tensor(const Tensor&)>& forward_function);

 private:
  enum class Kind { kParameter, kBuffer };
  void check_name(const std::string& name) const;
  void collect(Kind kind, const std::string& prefix, bool recurse, NamedTensors& result) const;
  NamedTensors collect_once(Kind kind, bool recurse) const;
  void collect_optional(const std::string& prefix, std::set<std::string>& result) const;
  void collect_modules(const std::string& prefix, NamedModules& result);

  NamedTensors parameters_;
  NamedTensors buffers_;
  std::vector<std::string> optional_buffers_;  ///< the buffers registered as InState::kOptional
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  bool training_ = true;
  HookList<ForwardPreHook> pre_hooks_;
  HookList<ForwardHook> hooks_;
};

}  // namespace taper
