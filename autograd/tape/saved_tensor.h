#pragma once  // spine 43 (docs/0-the-spine.md)
// A tensor kept for the backward pass. It remembers the storage's version, so that a value overwritten since
// is an error and not a wrong gradient, and it never keeps its own node alive. PyTorch's counterpart:
// torch/csrc/autograd/saved_variable.h.

#include "taper/autograd/tape/node.h"

namespace taper {

class SavedTensor {
 public:
  /// `owner` is the node that saves; if x is an output of it, `output_index` says which, else -1.
  /// Throws Error for tensors made under inference_mode.
  SavedTensor(const Tensor& x, const Node& owner, int output_index);

  /// The tensor; with its history if gradients are being recorded (create_graph). Throws Error naming the
  /// operation if the tensor was written to after it was saved.
  Tensor unpack(Node& owner, size_t position) const;
  int64_t size_bytes() const { return data_.defined() ? int64_t(data_.size_bytes()) : 0; }

 private:
  Tensor data_;  ///< an alias outside the tape: holding x itself could close a cycle through its history
  Edge edge_;
  int output_index_ = -1;
  uint32_t version_ = 0;
};

}  // namespace taper
