#pragma once
// Lists of tensors as flat memory, for loops that walk several lists together.

#include <string_view>
#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Whether tensors of one shape lie in one memory order.
bool same_order(const Tensor& a, const Tensor& b);

/// The tensors of a list, each dense and, on the CPU, in a dtype that is computed in: the tensor itself if it
/// is so, else a copy.
class FlatList {
 public:
  /// Throws Error naming `op` and `name` for an undefined tensor or one that is not floating point.
  FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors);
  /// Gives each tensor the memory order and, on the CPU, the dtype of its partner. Also throws Error if
  /// lengths, shapes or devices differ.
  FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors,
           const FlatList& partner);

  const std::vector<Tensor>& tensors() const { return flat_; }
  const Tensor& operator[](size_t i) const { return flat_[i]; }
  bool on_cpu() const { return flat_.empty() || flat_[0].device().is_cpu(); }

  /// Call after writing into tensors(): copies what was written to the original tensors, and bumps their
  /// versions.
  void finish_write() const;

 private:
  std::vector<Tensor> originals_;
  std::vector<Tensor> flat_;
};

}  // namespace taper::ops
