#pragma once
// Frozen parts of a network: parameters that do not train, and batch norms that keep their statistics. In PyTorch
// one writes parameter.requires_grad = False, and bn.eval() after every model.train().

#include <string>
#include <vector>

#include "taper/nn/module.h"

namespace taper {

/// Sets requires_grad of the parameters whose dotted names begin with one of `prefixes` to false: an optimiser made
/// of trainable_parameters() holds nothing for them, and backward() computes nothing for them, nor for what only
/// they would need. A prefix is made of whole components: "layer1" freezes "layer1.0.conv1.weight" and leaves
/// "layer10.weight" alone. Returns how many elements the frozen parameters have. Throws Error, with nothing changed,
/// for a prefix of no parameter, or if none would be left to train.
int64_t freeze(Module& model, const std::vector<std::string>& prefixes);

/// Returns the parameters that require gradients.
NamedTensors trainable_parameters(const Module& model);

enum class BatchNorms { kFrozen, kAll };

/// Has batch norms keep their running statistics and normalise by them, in training too: those whose parameters are
/// all frozen, or all. Returns how many.
int64_t freeze_batch_norms(Module& model, BatchNorms which = BatchNorms::kFrozen);

}  // namespace taper
