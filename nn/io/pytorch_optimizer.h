#pragma once
// An optimiser's state as torch.optim keeps it, so that training goes on in the other framework. There the
// parameters have numbers, in the order in which they were given to the optimiser:
//
//   {"state": {0: {"step": ..., "exp_avg": ..., "exp_avg_sq": ...}, 1: ...},
//    "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), ..., "params": [0, 1]}]}
//
// PyTorch's counterpart: state_dict() and load_state_dict() in torch/optim/optimizer.py.

#include "taper/nn/io/pickle_value.h"
#include "taper/nn/optim/optimizer.h"

namespace taper {

/// Returns the state of an SGD, Adam or AdamW as torch.optim.SGD, Adam or AdamW load it. The tensors share
/// memory with the optimiser. SGD's count of updates has no place in it and is left out. Throws Error for
/// another kind of optimiser.
PickleValue pytorch_state_dict(Optimizer& optimizer);

/// Restores the state that torch.optim.SGD, Adam or AdamW saved into an SGD, Adam or AdamW over the same
/// parameters, in the same groups and the same order. Adam takes decoupled_weight_decay from the state, as
/// PyTorch's does, and false if it is not there. Throws Error, with nothing changed, for another number of
/// groups or of parameters in a group, other shapes, missing numbers, and what Taper's optimisers do not do:
/// amsgrad, maximize, and in an AdamW the weight decay of Adam.
void load_pytorch_state_dict(Optimizer& optimizer, const PickleValue& saved);

}  // namespace taper
