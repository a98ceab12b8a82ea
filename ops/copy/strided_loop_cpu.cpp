#include "taper/ops/copy/strided_loop.h"

#include <algorithm>
#include <cstring>

#include "taper/ops/compute_type.h"
#include "taper/ops/simd.h"

namespace taper::ops {
namespace {

template <class T>
constexpr bool kWidens = !std::is_same_v<T, ComputeType<T>>;

/// Converts one value: anything becomes bool by "not zero"; floats become integers by truncation through
/// int64_t.
template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, bool>) {
    return ComputeType<From>(value) != 0;
  } else if constexpr (kWidens<To>) {
    return To(float(value));
  } else if constexpr (kWidens<From>) {
    return convert<To>(float(value));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return To(int64_t(value));
  } else {
    return To(value);
  }
}

template <class From, class To>
void convert_row(const From* from, int64_t from_stride, To* to, int64_t to_stride, int64_t count) {
  if constexpr (std::is_same_v<From, bool> && !std::is_same_v<To, bool>) {
    // Converts bytes of 0 and 1, which vectorise.
    return convert_row(reinterpret_cast<const uint8_t*>(from), from_stride, to, to_stride, count);
  }
  if (from_stride == 1 && to_stride == 1) {
    if constexpr (std::is_same_v<From, To>) {
      std::memcpy(to, from, size_t(count) * sizeof(To));
      return;
    }
    if constexpr (kWidens<From> != kWidens<To> &&
                  (std::is_same_v<From, float> || std::is_same_v<To, float>)) {
      return convert_floats(from, to, count);
    }
    for (int64_t i = 0; i < count; ++i) to[i] = convert<To>(from[i]);
  } else if (from_stride == 0 && to_stride == 1) {
    std::fill_n(to, count, convert<To>(*from));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i * to_stride] = convert<To>(from[i * from_stride]);
  }
}

/// Calls row(offset of the first element, number of elements) for each stretch along the innermost dimension.
template <class Row>
void for_each_row(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count, Row row) {
  const int64_t inner = shape.size() - 1;
  int64_t index[kMaxDims];
  int64_t offset = 0;
  int64_t rest = begin;
  for (int64_t axis = inner; axis > 0; --axis) {
    index[axis] = rest % shape[axis];
    rest /= shape[axis];
    offset += index[axis] * operand.strides[axis];
  }
  index[0] = rest;
  offset += rest * operand.strides[0];
  while (true) {
    const int64_t length = std::min(count, shape[inner] - index[inner]);
    row(offset, length);
    count -= length;
    if (count == 0) return;
    offset -= index[inner] * operand.strides[inner];
    index[inner] = 0;
    for (int64_t axis = inner - 1; axis >= 0; --axis) {
      offset += operand.strides[axis];
      if (++index[axis] < shape[axis]) break;
      offset -= shape[axis] * operand.strides[axis];
      index[axis] = 0;
    }
  }
}

/// Returns the operand's memory at `begin` if the block lies there as one row of T, else null.
template <class T>
T* direct(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count) {
  const int64_t inner = shape.size() - 1;
  if (operand.dtype != dtype_of<T> || operand.strides[inner] != 1) return nullptr;
  T* data = reinterpret_cast<T*>(operand.data);
  if (inner == 0) return data + begin;
  const int64_t within = begin % shape[inner];
  if (within + count > shape[inner]) return nullptr;
  int64_t offset = within;
  int64_t rest = begin / shape[inner];
  for (int64_t axis = inner - 1; axis >= 0; --axis) {
    offset += rest % shape[axis] * operand.strides[axis];
    rest /= shape[axis];
  }
  return data + offset;
}

}  // namespace

template <class T>
const T* load_block(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count, T* buffer) {
  if (const T* data = direct<T>(operand, shape, begin, count)) return data;
  const int64_t stride = operand.strides.back();
  dispatch(operand.dtype, [&]<class From>() {
    const From* from = reinterpret_cast<const From*>(operand.data);
    T* to = buffer;
    for_each_row(operand, shape, begin, count, [&](int64_t offset, int64_t length) {
      convert_row(from + offset, stride, to, 1, length);
      to += length;
    });
  });
  return buffer;
}

template <class T>
T* block_target(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count, T* buffer) {
  T* data = direct<T>(operand, shape, begin, count);
  return data ? data : buffer;
}

template <class T>
void store_block(const LoopOperand& operand, const Shape& shape, int64_t begin, int64_t count,
                 const T* values) {
  if (values == direct<T>(operand, shape, begin, count)) return;
  const int64_t stride = operand.strides.back();
  dispatch(operand.dtype, [&]<class To>() {
    To* to = reinterpret_cast<To*>(operand.data);
    const T* from = values;
    for_each_row(operand, shape, begin, count, [&](int64_t offset, int64_t length) {
      convert_row(from, 1, to + offset, stride, length);
      from += length;
    });
  });
}

template const float* load_block(const LoopOperand&, const Shape&, int64_t, int64_t, float*);
template const double* load_block(const LoopOperand&, const Shape&, int64_t, int64_t, double*);
template const int64_t* load_block(const LoopOperand&, const Shape&, int64_t, int64_t, int64_t*);
template float* block_target(const LoopOperand&, const Shape&, int64_t, int64_t, float*);
template double* block_target(const LoopOperand&, const Shape&, int64_t, int64_t, double*);
template int64_t* block_target(const LoopOperand&, const Shape&, int64_t, int64_t, int64_t*);
template bool* block_target(const LoopOperand&, const Shape&, int64_t, int64_t, bool*);
template void store_block(const LoopOperand&, const Shape&, int64_t, int64_t, const float*);
template void store_block(const LoopOperand&, const Shape&, int64_t, int64_t, const double*);
template void store_block(const LoopOperand&, const Shape&, int64_t, int64_t, const int64_t*);
template void store_block(const LoopOperand&, const Shape&, int64_t, int64_t, const bool*);

}  // namespace taper::ops
