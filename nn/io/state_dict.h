#pragma once
// The state dict in a file: a model's tensors by name, whatever else the file holds.

#include <map>
#include <string>
#include <vector>

#include "taper/nn/io/pickle_value.h"
#include "taper/nn/tensor_map.h"

namespace taper {

struct StateDict {
  TensorMap tensors;
  std::map<std::string, ForeignTensor> unreadable = {};  ///< tensors of dtypes that Taper lacks
  std::vector<std::string> left_out = {};  ///< names of what else was saved beside them: "epoch", "optimizer"

  /// Returns the tensor called `name`. Throws Error if there is none, or if it is unreadable.
  const Tensor& at(const std::string& name) const;
  /// Returns the tensors, for a caller that needs the names in `needed`. Throws Error if one of those is
  /// unreadable: model.load_state_dict(file.tensors_for(model.state_dict())).
  const TensorMap& tensors_for(const TensorMap& needed) const;
};

struct StateDictOptions {
  /// Taken off the names that begin with it: "model.". If this is empty, the "module." that PyTorch's
  /// DataParallel puts there is taken off where all names begin with it.
  std::string strip_prefix = {};
};

/// Returns the tensors of a saved value: those of a dict with texts as keys, or of the dict under "state_dict",
/// "model_state_dict" or "model" in it, as training programs write their checkpoints. Entries
/// that are no tensors are left out. Throws Error for a value without tensors in such a place, naming what it holds, and
/// if two names are equal without their prefix.
StateDict state_dict_of(const PickleValue& saved, const StateDictOptions& options = {});

}  // namespace taper
