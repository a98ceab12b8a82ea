#pragma once  // spine 53 (docs/0-the-spine.md)
// Module: a tree of named parts. A module registers its parameters, its buffers (tensors that are saved but
// not trained) and its smaller modules, each under a name. Counting, saving, loading and moving follow from
// that tree. How a module is called is its own choice:
//
//   struct TwoTowers : Module {
//     Linear& left = register_module<Linear>("left", 64, 32);
//     Linear& right = register_module<Linear>("right", 16, 32);
//     Tensor operator()(const Tensor& a, const Tensor& b) { return left(a) * right(b); }
//   };
//
// A module that turns one tensor into one tensor is a Layer (nn/layer.h). PyTorch's counterparts:
// torch/nn/modules/module.py, torch/csrc/api/include/torch/nn/module.h.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/nn/tensor_map.h"

namespace taper {

class Module;
using NamedModules = std::vector<std::pair<std::string, Module*>>;

/// The names and shapes that load_state_dict() could not match.
struct LoadReport {
  struct ShapeMismatch {
    std::string name;
    Shape found;   ///< in the given state
    Shape needed;  ///< by the module
  };
  std::vector<std::string> missing;     ///< names that the module has and the given state lacks
  std::vector<std::string> unexpected;  ///< names that the given state has and the module lacks
  std::vector<ShapeMismatch> mismatched;

  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  /// Returns the report in one line, with long lists shortened. Names a prefix such as "module." if the names
  /// would match without it.
  std::string str() const;
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // its parts hold references into it
  Module& operator=(const Module&) = delete;

  /// Returns the class's own name: "Conv2d".
  virtual std::string type_name() const;

  /// Sets training or evaluation mode for the module and all its parts. Dropout and batch norm differ between
  /// the two. Modules start in training mode.
  void train(bool training = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }

  // ---- What it is made of; names are dotted paths ("layer1.0.conv1.weight"), in order of registration ----

  /// Returns each parameter once, even if two modules share it. recurse = false leaves out the parts'
  /// tensors.
  NamedTensors named_parameters(bool recurse = true) const;
  /// Returns each buffer once, even if two modules share it. recurse = false leaves out the parts' tensors.
  NamedTensors named_buffers(bool recurse = true) const;
  std::vector<Tensor> parameters() const;
  std::vector<Tensor> buffers() const;
  /// Returns the direct parts.
  NamedModules named_children() const;
  /// Returns this module under the name "", then every module below it, parents before children.
  NamedModules named_modules();
  /// Returns the number of elements in all parameters.
  int64_t parameter_count() const;

  /// Calls `function` on every module, children before parents.
  void apply(const std::function<void(Module&)>& function);

  // ---- Changing it ----

  /// Converts floating-point parameters, their gradients and buffers, in place: optimisers and other holders
  /// of these tensors see the change. Throws Error for a dtype that is not floating-point.
  void to(DType dtype);
  /// Moves all parameters, gradients and buffers, in place.
  void to(Device device);
  /// Drops the gradients, or fills existing ones with zeros.
  void zero_grad(bool set_to_none = true);
  /// Freezes or unfreezes all parameters.
  void set_requires_grad(bool requires_grad);

  /// Returns parameters and buffers by name. They share memory with the module. save_safetensors() takes
  /// them.
  TensorMap state_dict() const;
  /// Copies values into parameters and buffers with matching names and shapes, and converts dtype and device.
  /// strict: throws Error naming every missing, unexpected and mismatched tensor, and changes nothing.
  /// Without strict, skips those tensors and returns their names. A buffer registered as InState::kOptional
  /// never counts as missing.
  LoadReport load_state_dict(const TensorMap& state, bool strict = true);

 protected:
  // A module keeps its own handle on each registered tensor. `weight = other` makes the member another
  // tensor, while the module trains, saves and moves the first. Write the values instead:
  // weight.copy_(other).

  /// Makes a part, owns it and returns it. Throws Error if the name is taken, empty, or holds a dot.
  template <class M, class... Args>
  M& register_module(const std::string& name, Args&&... args) {
    return register_module(name, std::make_shared<M>(std::forward<Args>(args)...));
  }
  /// Registers an existing part and returns it. Throws Error if the name is taken, empty, or holds a dot.
  template <class M>
  M& register_module(const std::string& name, std::shared_ptr<M> module) {
    M& part = *module;
    check_name(name);
    children_.push_back({name, std::move(module)});
    return part;
  }
  /// Registers and returns a part that may be left out. Returns null for null and registers nothing.
  template <class M>
  M* register_optional(const std::string& name, std::shared_ptr<M> module) {
    return module ? &register_module(name, std::move(module)) : nullptr;
  }
  /// Registers and returns a tensor to be trained. Returns an undefined tensor (no bias) without registering
  /// it.
  Tensor register_parameter(const std::string& name, Tensor tensor);
  /// Whether load_state_dict() needs a value for a buffer. An optional buffer without one keeps its value.
  enum class InState { kRequired, kOptional };
  /// Registers and returns a tensor that is saved and moved with the module but not trained.
  Tensor register_buffer(const std::string& name, Tensor tensor, InState in_state = InState::kRequired);

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
};

}  // namespace taper
