#pragma once  // spine 65 (docs/0-the-spine.md)
// Optimizer: updates parameters from their gradients. Parameters come in groups, each with its own options.
// Their names are the keys under which the optimiser's memory is saved. PyTorch's counterpart:
// torch/optim/optimizer.py.
//
//   SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
//   for (...) {
//     optimizer.zero_grad();
//     cross_entropy(model(images), labels).backward();
//     optimizer.step();
//   }

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/nn/optim/saved_state.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

class ShardedParameters;

/// Parameters that share options: a model's body and its head, weights with and without decay.
template <class Options>
struct ParameterGroup {
  NamedTensors parameters;
  Options options;
};

/// Returns the parameters of each group.
template <class Options>
std::vector<NamedTensors> parameters_of(const std::vector<ParameterGroup<Options>>& groups) {
  std::vector<NamedTensors> result;
  result.reserve(groups.size());
  for (const auto& group : groups) result.push_back(group.parameters);
  return result;
}
/// Returns the parameters under the names "0", "1", ...
NamedTensors number_names(const std::vector<Tensor>& parameters);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient, in place. skip: undefined, or f32 of one element on the
  /// parameters' device, as ops::unscale_ leaves it. If it is not 0, nothing changes and no update is
  /// counted. On a GPU the host does not wait. The kernels read learning rates and counts from device memory,
  /// so that a captured step can be replayed once all parameters have had their first update.
  void step(const Tensor& skip = {});
  /// Writes changed learning rates to the memory that updates read. step() does so itself. Call this before a
  /// step is captured, and before it is replayed.
  void publish_lr();
  /// Lets the device choose a group's learning rate: rates[how many of the `skips` are 0], with skips as for
  /// step(). Sets lr() to the last rate, the one if nothing was skipped. (LrScheduler::step)
  void choose_lr(size_t group, const std::vector<double>& rates, const std::vector<Tensor>& skips);
  /// Returns the learning rate that a group's last update was made with, f64 of one element on its device;
  /// undefined before the first. The next update may overwrite it.
  const Tensor& lr_on_device(size_t group = 0) const { return groups_.at(group).lr; }
  /// Drops the gradients, or fills those that exist with zeros.
  void zero_grad(bool set_to_none = true);

  /// From now on updates this rank's shards of the parameters, gathers all ranks' after each update, and keeps memory for
  /// its shards alone (nn/parallel/sharded_parameters.h). Memory that is there is cut. All ranks must call this, and
  /// later step() and state_dict(). Throws Error for an optimiser whose updates need whole parameters, and for a
  /// parameter that is none of `shards`.
  void shard(std::shared_ptr<const ShardedParameters> shards);
  /// Returns null without shard().
  const ShardedParameters* shards() const { return shards_.get(); }
  /// Returns how much this rank remembers of earlier gradients: momentum and the like.
  int64_t memory_bytes() const;

  size_t group_count() const { return groups_.size(); }
  /// Returns all parameters, group by group; this rank's shards after shard().
  std::vector<Tensor> parameters() const;
  /// Returns the names of a group's parameters, in order.
  std::vector<std::string> parameter_names(size_t group) const;

  /// Returns a group's learning rate, to read or to set.
  virtual double& lr(size_t group = 0) = 0;
  /// Returns SGD's momentum or Adam's beta1, which a one-cycle schedule moves against the learning rate.
  virtual double& momentum(size_t group = 0) = 0;
  /// Returns the learning rate that a group was made with, from which schedules start.
  double initial_lr(size_t group = 0) const { return groups_.at(group).initial_lr; }

  /// Returns tensors "momentum_buffer.conv1.weight", numbers "step.conv1.weight" and options "group0.lr". After shard()
  /// the tensors are whole all the same, in host memory of rank 0; other ranks help, and get numbers alone.
  SavedState state_dict();
  /// Returns the groups' options alone, "group0.lr".
  std::map<std::string, double> saved_options();
  /// Restores a saved state, or after shard() this rank's part of it, converted to the parameters' dtypes, devices and memory orders. Throws Error,
  /// with nothing changed, for another number of groups, unknown parameters, other shapes or missing numbers.
  void load_state_dict(const SavedState& state);

 protected:
  /// A parameter and the optimiser's memory for it.
  struct Slot {
    std::string name;
    Tensor parameter;
    Tensor whole = {};                ///< what `parameter` is a shard of; undefined without shard()
    std::vector<Tensor> memory = {};  ///< in the order of memory_names(); empty before the first update
    /// The number of updates, f64 of one element on the parameter's device; undefined before the first.
    /// Parameters that have always been updated together share one tensor.
    Tensor steps = {};
  };
  struct Group {
    std::vector<Slot> slots;
    double initial_lr = 0;
    Tensor lr = {};           ///< written by publish_lr(), f64 of one element
    double published_lr = 0;  ///< the value in `lr`, or the last of those that the device chose from
  };
  /// An option of a group: a pointer to a number or a switch.
  struct NamedOption {
    std::string name;
    std::variant<double*, bool*> value;

    double get() const {
      return std::visit([](const auto* option) { return double(*option); }, value);
    }
    void set(double saved) const {
      std::visit([&](auto* option) { *option = std::remove_pointer_t<decltype(option)>(saved); }, value);
    }
  };
  using NamedOptions = std::vector<NamedOption>;
  /// What an update works on: a parameter, its gradient and its memory have the same place in all lists.
  struct UpdateLists {
    std::vector<Tensor> parameters, grads;
    std::vector<std::vector<Tensor>> memory;  ///< a list for each of memory_names(), or empty lists
  };

  /// Throws Error, naming `optimizer`, for no parameters, or for a parameter that is undefined, integer, the
  /// result of an operation, or given twice.
  Optimizer(std::string_view optimizer, const std::vector<NamedTensors>& groups);

  /// "momentum_buffer", or "exp_avg" and "exp_avg_sq".
  virtual std::vector<std::string> memory_names() const = 0;
  /// Whether an element's update depends on no other element.
  virtual bool is_elementwise() const { return true; }
  /// All options of a group by name: what state_dict() saves and load_state_dict() restores.
  virtual NamedOptions named_options(size_t group) = 0;
  /// "SGD step", for reports; a literal.
  virtual std::string_view step_name() const = 0;
  /// Updates parameters of a group that have gradients. Makes their memory if they have none. copies: empty,
  /// or what each parameter is written to as well, in low precision.
  virtual void update(size_t group, const std::vector<Slot*>& slots, const UpdateControls& controls,
                      const std::vector<Tensor>& copies) = 0;

  /// Returns the lists of `slots`. Makes the memory of those that have none, with zeros in it. with_memory:
  /// false for an update that needs none.
  UpdateLists lists_of(const std::vector<Slot*>& slots, bool with_memory = true) const;

  std::string optimizer_;  ///< "SGD", for messages
  std::vector<Group> groups_;

 private:
  /// Parameters that are updated in one call.
  struct Cohort {
    Tensor steps;
    std::vector<Slot*> slots;
    bool complete = true;  ///< no other parameter shares `steps`
  };
  /// Returns the parameters' copies that autocast reads (autograd/tape/weight_copy.h), undefined where there
  /// is none; nothing if there is none at all.
  static std::vector<Tensor> weight_copies(const std::vector<Slot*>& slots);
  /// Returns the group's parameters that have gradients, and counts this update.
  static std::vector<Cohort> count_update(Group& group, const Tensor& skip);
  /// Adds whole tensors of memory, in rank 0's host memory, to `state`.
  void gather_memory(SavedState& state) const;
  /// Returns the parameters that `parameters()` are shards of.
  std::vector<Tensor> whole_parameters() const;
  Slot* find(const std::string& parameter);
  void check_state(const SavedState& state);

  std::shared_ptr<const ShardedParameters> shards_;
};

}  // namespace taper
