#pragma once
// Tensor: an n-dimensional array as a cheap handle on (storage, offset, shape, strides, dtype). Copying a
// Tensor copies the handle; views share storage. PyTorch's counterparts: c10/core/TensorImpl.h and
// ATen/core/TensorBody.h.
//
// The class is declared whole here so that x.relu() and x.view() read the same everywhere, but its methods
// have two homes. What a tensor *is* (this floor, core/tensor.cpp) never computes. What the tape must see,
// views and copies included, is defined where the tape lives (autograd/tensor_methods.cpp). Code in ops/
// works below the tape: it uses views:: (core/views.h) and ops:: functions, never the methods of the second
// group.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/core/base/error.h"
#include "taper/core/dims.h"
#include "taper/core/scalar.h"
#include "taper/core/storage.h"

namespace taper {

class Node;
class Tensor;
struct TensorImpl;

/// The order of a 4-d tensor's elements in memory. Sizes are always given as [N, C, H, W]; channels_last
/// (NHWC) changes the strides alone. Image ops run in channels_last.
enum class MemoryFormat : uint8_t { kContiguous, kChannelsLast };
using enum MemoryFormat;

/// Row-major strides, or NHWC strides for a 4-d shape. Throws Error for channels_last of another dimension.
Strides strides_for(const Shape& shape, MemoryFormat format = kContiguous);

/// What a new tensor is made of: zeros({2, 3}, {.dtype = kFloat64}).
struct TensorOptions {
  DType dtype = kFloat32;
  Device device = {};
  MemoryFormat memory_format = kContiguous;
  bool pinned_memory = false;  ///< CPU only: page-locked, for copies to and from a GPU that need not wait
};

class Tensor {
 public:
  /// An undefined tensor: no shape, no storage; defined() is false.
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
  Tensor(const Tensor&) = default;
  Tensor(Tensor&&) noexcept = default;
  ~Tensor() = default;
  /// x = y makes the variable x another handle on y's tensor.
  Tensor& operator=(const Tensor&) & = default;
  Tensor& operator=(Tensor&&) & noexcept = default;
  /// x[0] = y has no variable to change, so it writes y's elements into the tensor on the left, as
  /// x[0].copy_(y). So do x.slice(...) = y and std::move(x) = y. Returns the tensor on the left. As in
  /// LibTorch.
  // NOLINTNEXTLINE(bugprone-unhandled-self-assignment): copying onto itself changes nothing
  Tensor operator=(const Tensor& source) && { return copy_(source); }
  /// x[0] = 1: as x[0].fill_(1).
  Tensor operator=(Scalar value) && { return fill_(value); }

  // ---- What it is (core/tensor.cpp). All throw Error on an undefined tensor. ----

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  const Strides& strides() const;
  int64_t dim() const { return shape().size(); }
  /// The size along `axis`; negative counts from the end.
  int64_t size(int64_t axis) const;
  int64_t numel() const;
  DType dtype() const;
  Device device() const;
  const std::shared_ptr<Storage>& storage() const;
  /// In elements.
  int64_t storage_offset() const;
  size_t size_bytes() const { return size_t(numel()) * size_of(dtype()); }
  /// True if the elements are in page-locked CPU memory from Taper's allocator.
  bool is_pinned() const;

  /// True when the elements lie in `format`'s order without gaps (dimensions of size 1 do not matter).
  bool is_contiguous(MemoryFormat format = kContiguous) const;
  /// True when every storage element of the view is used exactly once, in any order of dimensions.
  bool is_dense() const;
  /// kChannelsLast for a 4-d tensor that lies in that order and not in row-major order; else kContiguous.
  MemoryFormat memory_format() const;

  /// The first element. Throws Error if T is not the tensor's dtype.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>);
    return static_cast<T*>(data_ptr());
  }
  void* data_ptr() const;

  /// The storage's count of in-place writes; see Storage::version.
  uint32_t version() const { return storage()->version(); }
  /// Every function that writes into an existing tensor calls this once.
  void bump_version() const { storage()->bump_version(); }

  /// True when both handles are the same tensor (not merely equal or sharing storage).
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }
  const std::shared_ptr<TensorImpl>& impl() const { return impl_; }

  // ---- What the tape sees (autograd/tensor_methods.cpp). ----

  /// Whether operations on this tensor are recorded.
  bool requires_grad() const;
  /// Marks a leaf as wanting a gradient. Throws Error for non-float dtypes and for results of recorded ops.
  Tensor& set_requires_grad(bool requires_grad = true);
  /// True for tensors the user made, false for results of recorded ops.
  bool is_leaf() const;
  /// The accumulated gradient; undefined before the first backward().
  Tensor grad() const;
  void set_grad(const Tensor& grad) const;
  /// The node that computes this tensor's gradient; null for leaves.
  std::shared_ptr<Node> grad_fn() const;
  /// Keeps the gradient of a non-leaf too. (torch.Tensor.retain_grad)
  void retain_grad() const;
  /// Computes the gradients of all leaves below this tensor and adds them to their grad(). `gradient` may be
  /// left out for a scalar. Throws Error if shapes differ or no gradient is required.
  void backward(const Tensor& gradient = {}, bool retain_graph = false, bool create_graph = false) const;
  /// A tensor on the same storage that the tape does not see.
  Tensor detach() const;

  /// Views: no copy, gradients flow through. Sizes may hold one -1. All throw Error with both shapes.
  Tensor view(const Shape& shape) const;     ///< Throws if the strides do not allow it; use reshape.
  Tensor reshape(const Shape& shape) const;  ///< A view where possible, else a copy.
  Tensor flatten(int64_t first = 0, int64_t last = -1) const;
  Tensor permute(const Dims& axes) const;
  Tensor transpose(int64_t a, int64_t b) const;
  Tensor squeeze(int64_t axis) const;  ///< Unchanged if the size is not 1.
  Tensor squeeze() const;              ///< Drops every size 1.
  Tensor unsqueeze(int64_t axis) const;
  Tensor expand(const Shape& shape) const;  ///< -1 keeps a size.
  Tensor slice(int64_t axis, int64_t begin, int64_t end = INT64_MAX, int64_t step = 1) const;
  Tensor narrow(int64_t axis, int64_t begin, int64_t length) const;
  Tensor select(int64_t axis, int64_t index) const;
  Tensor operator[](int64_t index) const { return select(0, index); }

  /// Copies where needed; this tensor itself when nothing would change.
  Tensor contiguous(MemoryFormat format = kContiguous) const;
  Tensor to(DType dtype) const;
  /// With `non_blocking`, a copy between pinned CPU memory and a GPU is only enqueued on the GPU's current
  /// stream; a result on the CPU is then in pinned memory and must not be read before that stream is
  /// synchronized. Work on the same stream needs no care.
  Tensor to(Device device, bool non_blocking = false) const;
  Tensor cpu() const { return to(Device(kCPU)); }
  Tensor cuda(int index = 0, bool non_blocking = false) const {
    return to(Device(kCUDA, index), non_blocking);
  }
  /// This tensor if it is in pinned memory, else a copy there. Throws Error for a tensor on a GPU.
  Tensor pin_memory() const;
  /// A copy on its own storage, in the same memory format.
  Tensor clone() const;

  /// The value of a one-element tensor, as Scalar::to gives it: exact for integers. Throws Error if the
  /// tensor has not one element, or T does not hold the value.
  template <class T = double>
  T item() const {
    return item_as_scalar().to<T>();
  }

  /// In place; each returns this tensor, bumps the version and is recorded.
  /// Broadcasts; converts the dtype; may cross devices. For `non_blocking` see to().
  const Tensor& copy_(const Tensor& source, bool non_blocking = false) const;
  const Tensor& fill_(Scalar value) const;
  const Tensor& zero_() const { return fill_(0); }
  /// Sums and products of integers that leave the dtype wrap around: add_(-1) makes 255 of a 0 in u8. The
  /// number itself must fit; a negative one fits u8 if its opposite does.
  const Tensor& add_(const Tensor& other, Scalar alpha = 1) const;
  const Tensor& add_(Scalar value) const;
  const Tensor& sub_(const Tensor& other) const { return add_(other, -1); }
  const Tensor& mul_(const Tensor& other) const;
  const Tensor& mul_(Scalar value) const;
  const Tensor& div_(const Tensor& other) const;

  /// The arithmetic one reads most often as methods; all of it, with docs, is in autograd/functions.h.
  Tensor add(const Tensor& other) const;
  Tensor sum() const;
  Tensor sum(const Dims& axes, bool keepdim = false) const;
  Tensor mean() const;
  Tensor mean(const Dims& axes, bool keepdim = false) const;
  Tensor matmul(const Tensor& other) const;
  Tensor relu() const;
  Tensor exp() const;
  Tensor log() const;
  Tensor sqrt() const;
  Tensor argmax(int64_t axis, bool keepdim = false) const;

 private:
  const TensorImpl& checked() const;
  void check_dtype(DType asked) const;
  Scalar item_as_scalar() const;

  std::shared_ptr<TensorImpl> impl_;
};

/// What the tape hangs on a tensor; its content belongs to autograd/.
struct AutogradMeta {
  virtual ~AutogradMeta() = default;
};

/// The one object behind all handles of a tensor.
struct TensorImpl {
  std::shared_ptr<Storage> storage;
  int64_t storage_offset = 0;  ///< in elements
  Shape shape;
  Strides strides;
  int64_t numel = 0;
  DType dtype = kFloat32;
  bool is_inference = false;  ///< made under inference_mode: the tape refuses to save it
  std::unique_ptr<AutogradMeta> autograd;
};

// ---- Making tensors without arithmetic ----

/// Uninitialised memory. All throw Error if the machine has no such device, OutOfMemoryError if it is full.
Tensor empty(const Shape& shape, const TensorOptions& options = {});
/// Uninitialised, with given strides (in elements, non-negative; see span_of).
Tensor empty_strided(const Shape& shape, const Strides& strides, DType dtype = kFloat32, Device device = {});
/// As empty_strided, with memory from `allocator`, which must be `device`'s or of pinned CPU memory.
Tensor empty_from(Allocator& allocator, const Shape& shape, const Strides& strides, DType dtype,
                  Device device);
/// Uninitialised, with the dtype, device and (if dense) the strides of `other`.
Tensor empty_like(const Tensor& other);
Tensor empty_like(const Tensor& other, DType dtype);
/// A row-major CPU tensor over memory owned by someone else; `release` runs when its last view is gone.
Tensor from_blob(void* data, const Shape& shape, DType dtype, std::function<void()> release = {});
/// A CPU tensor with a copy of `values` in row-major order. Throws Error if the counts differ.
template <class T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape) {
  Tensor result = empty(shape, {.dtype = dtype_of<T>});
  TAPER_CHECK(int64_t(values.size()) == result.numel(), "from_vector: {} values do not fill shape {}",
              values.size(), shape);
  std::copy(values.begin(), values.end(), result.template data<T>());
  return result;
}
template <class T>
Tensor from_vector(const std::vector<T>& values) {
  return from_vector(values, {int64_t(values.size())});
}

/// The dtype of `a op b` by PyTorch's rule: a tensor without dimensions does not widen one with dimensions
/// of the same category. (torch.result_type)
DType result_type(const Tensor& a, const Tensor& b);

/// Readable text as PyTorch prints it: values in brackets, long axes shortened, then dtype and device if not
/// f32 on the cpu. The values come from `x`, which must be on the CPU.
std::string to_string(const Tensor& x);

namespace detail {
/// Set by inference_mode (autograd/tape/grad_mode.h) for the calling thread.
bool& inference_mode_flag();
}  // namespace detail

}  // namespace taper
