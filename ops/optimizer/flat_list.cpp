#include "taper/ops/optimizer/flat_list.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

/// Returns the dtype that x is computed in. The GPU's kernels convert as they load.
DType flat_dtype(const Tensor& x, DType computed) {
  return x.device().is_cuda() ? x.dtype() : computed;
}

/// Returns x itself if it has the memory order of `like` and, on the CPU, its dtype; else a copy that has.
Tensor in_order_of(const Tensor& like, const Tensor& x) {
  const DType dtype = flat_dtype(x, like.dtype());
  if (x.dtype() == dtype && (x.numel() <= 1 || same_order(like, x))) return x;
  const Tensor copy = empty_like(like, dtype);
  copy_(copy, x);
  return copy;
}

}  // namespace

bool same_order(const Tensor& a, const Tensor& b) {
  for (int64_t axis = 0; axis < a.dim(); ++axis) {
    if (a.shape()[axis] != 1 && a.strides()[axis] != b.strides()[axis]) return false;
  }
  return true;
}

FlatList::FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors)
    : originals_(tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& x = tensors[i];
    TAPER_CHECK(x.defined(), "{}: {}[{}] is undefined", op, name, i);
    TAPER_CHECK(is_floating_point(x.dtype()), "{}: {}[{}] must be floating point, got {}", op, name, i,
                x.dtype());
    TAPER_CHECK(x.device() == tensors[0].device(), "{}: {}[{}] is on {}, {}[0] on {}", op, name, i,
                x.device(), name, tensors[0].device());
    flat_.push_back(cast(x.is_dense() ? x : contiguous(x), flat_dtype(x, compute_dtype(x.dtype()))));
  }
}

FlatList::FlatList(std::string_view op, std::string_view name, const std::vector<Tensor>& tensors,
                   const FlatList& partner)
    : originals_(tensors) {
  TAPER_CHECK(tensors.size() == partner.flat_.size(), "{}: {} {} for {} tensors", op, tensors.size(), name,
              partner.flat_.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor &x = tensors[i], &like = partner.flat_[i];
    TAPER_CHECK(x.defined(), "{}: {}[{}] is undefined", op, name, i);
    TAPER_CHECK(is_floating_point(x.dtype()), "{}: {}[{}] must be floating point, got {}", op, name, i,
                x.dtype());
    TAPER_CHECK(x.shape() == like.shape(), "{}: {}[{}] is {}, but the tensor it belongs to is {}", op, name,
                i, x.shape(), like.shape());
    TAPER_CHECK(x.device() == like.device(), "{}: {}[{}] is on {}, but the tensor it belongs to on {}", op,
                name, i, x.device(), like.device());
    flat_.push_back(in_order_of(like, x));
  }
}

void FlatList::finish_write() const {
  for (size_t i = 0; i < flat_.size(); ++i) {
    if (flat_[i].is_same(originals_[i])) {
      originals_[i].bump_version();
    } else {
      copy_(originals_[i], flat_[i]);
    }
  }
}

}  // namespace taper::ops
