#pragma once  // spine 6 (docs/0-the-spine.md)
// Tensor: an n-dimensional array as a cheap handle on (storage, offset, shape, strides, dtype). Copying a
// Tensor copies the handle; views share storage. PyTorch's counterparts: c10/core/TensorImpl.h and
// ATen/core/TensorBody.h.
//
// The class is declared whole here so that x.relu() and x.view() read alike everywhere, but its methods have
// two homes. core/tensor.cpp defines what a tensor *is*, and never computes. autograd/tensor_methods.cpp,
// where the tape lives, defines what the tape must see, views and copies included. Code in ops/ works below
// the tape: it uses views:: (core/views.h) and ops:: functions, never the methods of the second group.

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

/// The order of a 4-d tensor's elements in memory. Sizes are always [N, C, H, W]; channels_last (NHWC)
/// changes only the strides. Image ops run in channels_last.
enum class MemoryFormat : uint8_t { kContiguous, kChannelsLast };
using enum MemoryFormat;

/// Returns row-major strides, or NHWC strides for a 4-d shape. Throws Error for channels_last unless the
/// shape is 4-d.
Strides strides_for(const Shape& shape, MemoryFormat format = kContiguous);

/// What a new tensor is made of: zeros({2, 3}, {.dtype = kFloat64}).
struct TensorOptions {
  DType dtype = kFloat32;
  Device device = {};
  MemoryFormat memory_format = kContiguous;
  bool pinned_memory = false;  ///< CPU only: page-locked, for copies to and from a GPU that need not wait
};

namespace detail {
/// This thread's WriteLog (write_log.h); null without one.
extern constinit thread_local std::vector<std::weak_ptr<Storage>>* write_log;
void note_write(const std::shared_ptr<Storage>& storage);
}  // namespace detail

class Tensor {
 public:
  /// An undefined tensor: no shape, no storage, and defined() is false.
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
  Tensor(const Tensor&) = default;
  Tensor(Tensor&&) noexcept = default;
  ~Tensor() = default;
  /// x = y makes the variable x another handle on y's tensor.
  Tensor& operator=(const Tensor&) & = default;
  Tensor& operator=(Tensor&&) & noexcept = default;
  /// x[0] = y has no variable to change, so it writes y's elements into the tensor on the left, like
  /// x[0].copy_(y). So do x.slice(...) = y and std::move(x) = y. Returns the tensor on the left. As in
  /// LibTorch.
  // NOLINTNEXTLINE(bugprone-unhandled-self-assignment): copying onto itself changes nothing
  Tensor operator=(const Tensor& source) && { return copy_(source); }
  /// x[0] = 1 is x[0].fill_(1).
  Tensor operator=(Scalar value) && { return fill_(value); }

  // ---- What it is (core/tensor.cpp). All throw Error on an undefined tensor. ----

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  const Strides& strides() const;
  int64_t dim() const { return shape().size(); }
  /// Returns the size along `axis`; a negative axis counts from the end.
  int64_t size(int64_t axis) const;
  int64_t numel() const;
  DType dtype() const;
  Device device() const;
  const std::shared_ptr<Storage>& storage() const;
  /// Returns the offset in elements.
  int64_t storage_offset() const;
  size_t size_bytes() const { return size_t(numel()) * size_of(dtype()); }
  /// Returns whether the elements are in page-locked CPU memory from Taper's allocator.
  bool is_pinned() const;

  /// Returns whether the elements lie in `format`'s order without gaps. Dimensions of size 1 do not matter.
  bool is_contiguous(MemoryFormat format = kContiguous) const;
  /// Returns whether the view uses every element of its span exactly once, in any order of dimensions.
  bool is_dense() const;
  /// Returns kChannelsLast for a 4-d tensor that lies in that order and not in row-major order; else
  /// kContiguous.
  MemoryFormat memory_format() const;

  /// Returns the address of the first element. Throws Error if T is not the tensor's dtype.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>);
    return static_cast<T*>(data_ptr());
  }
  void* data_ptr() const;

  /// Returns the storage's count of in-place writes; see Storage::version.
  uint32_t version() const { return storage()->version(); }
  /// Every function that writes into an existing tensor must call this once.
  void bump_version() const {
    storage()->bump_version();
    if (detail::write_log != nullptr) [[unlikely]]
      detail::note_write(storage());
  }

  /// Returns whether both handles are of one tensor, not merely of equal tensors or of views on one storage.
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }
  const std::shared_ptr<TensorImpl>& impl() const { return impl_; }

  // ---- What the tape sees (autograd/tensor_methods.cpp). ----

  /// Returns whether the tape records operations on this tensor.
  bool requires_grad() const;
  /// Marks a leaf as wanting a gradient. Throws Error for non-float dtypes and for results of recorded ops.
  Tensor& set_requires_grad(bool requires_grad = true);
  /// Returns true for tensors that the user made, false for results of recorded ops.
  bool is_leaf() const;
  /// Returns the accumulated gradient; undefined before the first backward().
  Tensor grad() const;
  void set_grad(const Tensor& grad) const;
  /// Returns the node that computes this tensor's gradient; null for leaves.
  std::shared_ptr<Node> grad_fn() const;
  /// Keeps the gradient although this tensor is not a leaf. (torch.Tensor.retain_grad)
  void retain_grad() const;
  /// Computes the gradients of all leaves below this tensor and adds them to their grad(). `gradient` may be
  /// omitted for a scalar. Throws Error if shapes differ, or if no tensor requires a gradient.
  void backward(const Tensor& gradient = {}, bool retain_graph = false, bool create_graph = false) const;
  /// Returns a tensor on the same storage that the tape does not see.
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

  /// Returns this tensor if it already has the layout, dtype or device; else a copy.
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
  /// Returns this tensor if it is in pinned memory, else a copy there. Throws Error for a tensor on a GPU.
  Tensor pin_memory() const;
  /// Returns a copy on its own storage, in the same memory format.
  Tensor clone() const;

  /// Returns the value of a one-element tensor, converted by Scalar::to: exact for integers. Throws Error if
  /// the tensor does not have exactly one element, or if the value does not fit T.
  template <class T = double>
  T item() const {
    return item_as_scalar().to<T>();
  }

  /// In place; each returns this tensor, bumps the version and is recorded. copy_ broadcasts, converts the
  /// dtype, and may cross devices. For `non_blocking` see to().
  const Tensor& copy_(const Tensor& source, bool non_blocking = false) const;
  const Tensor& fill_(Scalar value) const;
  const Tensor& zero_() const { return fill_(0); }
  /// Integer sums and products that leave the dtype wrap around: add_(-1) turns 0 into 255 in u8. The number
  /// itself must fit the dtype; a negative number fits u8 if its negation does.
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

/// Returns uninitialised memory. Like all functions below, throws Error if the machine has no such device,
/// and OutOfMemoryError if it is full.
Tensor empty(const Shape& shape, const TensorOptions& options = {});
/// Returns uninitialised memory with given strides (in elements, non-negative; see span_of).
Tensor empty_strided(const Shape& shape, const Strides& strides, DType dtype = kFloat32, Device device = {});
/// As empty_strided, with memory from `allocator`, which must belong to `device` or hold pinned CPU memory.
Tensor empty_from(Allocator& allocator, const Shape& shape, const Strides& strides, DType dtype,
                  Device device);
/// Returns uninitialised memory with the dtype, device and (if dense) the strides of `other`.
Tensor empty_like(const Tensor& other);
Tensor empty_like(const Tensor& other, DType dtype);
/// Returns a row-major CPU tensor over memory owned by someone else. Calls `release` when its last view is
/// gone.
Tensor from_blob(void* data, const Shape& shape, DType dtype, std::function<void()> release = {});
/// Returns a CPU tensor with a copy of `values` in row-major order. Throws Error if the counts differ.
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

/// Returns the dtype of `a op b` by PyTorch's rule: a tensor without dimensions does not widen one with
/// dimensions of the same category. (torch.result_type)
DType result_type(const Tensor& a, const Tensor& b);

/// Returns readable text as PyTorch prints it: values in brackets, long axes shortened, then dtype and device
/// unless they are f32 and cpu. x must be on the CPU.
std::string to_string(const Tensor& x);

namespace detail {
/// True while the calling thread is in inference_mode (autograd/tape/grad_mode.h).
bool& inference_mode_flag();
}  // namespace detail

}  // namespace taper
