#pragma once
// Working memory of one op, or of one of its tasks.

#include "taper/ops/copy/create.h"

namespace taper::ops {

/// Uninitialised memory for one task, from the caching allocator, aligned to 64 bytes.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t elements)
      : memory_(empty({elements}, {.dtype = dtype_of<T>})), data_(memory_.data<T>()) {}
  T* data() const { return data_; }

 private:
  Tensor memory_;
  T* data_;
};

}  // namespace taper::ops
