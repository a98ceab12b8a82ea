#pragma once
// How the CPU walks tensors of any strides and dtype, shared by copies, elementwise ops and reductions.
//
// A loop visits all elements of one shape in a fixed order. Its dimensions are sorted so that memory is
// walked forward, and merged where they lie evenly, which turns most loops into one long row. The work then
// goes in blocks that fit the first-level cache: load_block() brings a stretch of an operand into a
// contiguous array of the compute type, and plain vectorisable code does the rest. One loader and one storer
// per dtype serve all ops. PyTorch's counterpart: ATen/TensorIterator.cpp.

#include <array>
#include <cstdint>
#include <span>

#include "taper/core/tensor.h"

namespace taper::ops {

/// Elements in a block: four f32 arrays of this length take a third of a 48 KiB cache.
inline constexpr int64_t kBlockSize = 1024;
/// Elements in one piece of work that a thread takes.
inline constexpr int64_t kGrainSize = 32 * kBlockSize;

/// One tensor of a loop: where it begins, and its stride in elements along each dimension of the loop.
struct LoopOperand {
  char* data = nullptr;
  DType dtype = kFloat32;
  Strides strides;
};

struct StridedLoop {
  static constexpr int kMaxOperands = 4;

  /// All tensors have one shape (expand them first). Sorts dimensions by the strides of the first operand,
  /// breaks ties by the next operand's, and merges them.
  explicit StridedLoop(std::span<const Tensor* const> tensors);
  /// Loops over the dimensions `axes` only; `data` still points at each tensor's first element.
  StridedLoop(std::span<const Tensor* const> tensors, const Dims& axes);

  Shape shape;  ///< at least one dimension; the last is innermost
  int64_t numel = 1;
  int count = 0;
  std::array<LoopOperand, kMaxOperands> operands;
};

/// Merges neighbouring dimensions that one stride can walk in all `count` operands.
void merge_dimensions(Shape& shape, LoopOperand* operands, int count);

/// Returns elements [begin, begin + count) of the operand, in the order of `shape`, as T. Returns a pointer
/// into the operand itself where they lie there as a row of T, else `buffer` filled with converted values. T:
/// float, double, int64_t.
template <class T>
const T* load_block(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count, T* buffer);

/// Returns where to compute elements [begin, begin + count): the operand's own memory or `buffer`. Call
/// store_block then.
template <class T>
T* block_target(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count, T* buffer);
/// Writes `values` to elements [begin, begin + count), converted to the operand's dtype. Does nothing if they
/// are there already. T: float, double, int64_t, bool.
template <class T>
void store_block(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count,
                 const T* values);

/// Calls body.operator()<T>() with the type that ops on `dtype` compute in: float for f32 and the half types,
/// double for f64, int64_t for integers and bool.
template <class Body>
decltype(auto) dispatch_block_type(DType dtype, Body&& body) {
  if (dtype == kFloat64) return body.template operator()<double>();
  if (is_floating_point(dtype)) return body.template operator()<float>();
  return body.template operator()<int64_t>();
}

}  // namespace taper::ops
