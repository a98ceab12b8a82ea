#pragma once
// Lists of tensors as flat memory, for loops that walk several lists together.

#include <string_view>
#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// The tensors of a list, each dense and, on the CPU, in a dtype that is computed in: the tensor itself where
/// it is so, else a copy.
class FlatList {
 public:
  /// Throws Error naming `op` and `name` for an undefined tensor or one that is not floating point.
  FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors);
  /// As above, each in the memory order and, on the CPU, the dtype of its partner. Throws Error if lengths,
  /// shapes or devices differ.
  FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors,
           const FlatList& partner);

  const std::vector<Tensor>& tensors() const { return flat_; }
  const Tensor& operator[](size_t i) const { return flat_[i]; }
  bool on_cpu() const { return flat_.empty() || flat_[0].device().is_cpu(); }

  /// After writing into tensors(): copies go back to where they came from, and versions are bumped.
  void finish_write() const;

 private:
  std::vector<Tensor> originals_;
  std::vector<Tensor> flat_;
};

}  // namespace taper::ops
