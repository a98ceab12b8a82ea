#pragma once
// Fine-tuning's beginning: the weights of a network that was trained for other classes. All of it is taken but the
// head, its last layer, where that has another number of outputs. PyTorch's users write this by hand:
// https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html.

#include <string>

#include "taper/nn/io/state_dict.h"
#include "taper/nn/module.h"

namespace taper {

struct PretrainedReport {
  int64_t taken = 0, total = 0;         ///< tensors, of those that the model has
  std::vector<std::string> fresh = {};  ///< the head's tensors, if they keep their values
  int64_t found_classes = 0;            ///< outputs of the head in the file; 0 without one
  int64_t classes = 0;                  ///< outputs of the model's head
  int64_t uncounted = 0;  ///< optional tensors that were not given, such as batch norms' counters

  /// Returns "318 of 320 tensors from FILE; fc.weight, fc.bias are new: 1000 classes there, 10 here".
  std::string str(const std::string& file) const;
};

/// Copies the weights into the model, and says what was taken. The tensors of the part called `head` keep the values
/// they have if all that differs is their first size, the number of classes, or if the file has no tensor of that
/// part. Throws Error, with nothing changed, if any other tensor is missing, unexpected or of another shape: the
/// file is that of another network.
PretrainedReport load_pretrained(Module& model, const StateDict& weights, const std::string& head = "fc");

}  // namespace taper
