#include "taper/ops/index/index_cpu.h"

#include <algorithm>
#include <cstring>

#include "taper/core/base/parallel.h"
#include "taper/ops/element_width.h"
#include "taper/ops/lanes.h"

namespace taper::ops {
namespace {

/// Elements per parallel piece.
constexpr int64_t kGrain = 16384;

/// Calls body with a dtype that sums use.
template <class Body>
void dispatch_sum(DType dtype, Body&& body) {
  switch (dtype) {
    case kFloat32:
      return body.template operator()<float>();
    case kFloat64:
      return body.template operator()<double>();
    case kInt64:
      return body.template operator()<int64_t>();
    case kInt32:
      return body.template operator()<int32_t>();
    case kUInt8:
      return body.template operator()<uint8_t>();
    default:
      fail("index_add, scatter_add: {} is not summed directly", dtype);
  }
}

}  // namespace

int64_t find_out_of_range_cpu(const Tensor& index, int64_t limit) {
  const int64_t* values = index.data<int64_t>();
  const int64_t* end = values + index.numel();
  const int64_t* wrong = std::find_if(values, end, [limit](int64_t i) { return i < 0 || i >= limit; });
  return wrong == end ? -1 : wrong - values;
}

void index_select_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  const Lanes from = lanes_of(x, axis), to = lanes_of(result, axis);
  const size_t slice_bytes = size_t(from.inner) * size_of(x.dtype());
  const int64_t* positions = index.data<int64_t>();
  const char* source = static_cast<const char*>(x.data_ptr());
  char* target = static_cast<char*>(result.data_ptr());
  if (result.numel() == 0) return;
  parallel_for(to.outer * to.size, std::max<int64_t>(1, kGrain / to.inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t slice = i / to.size * from.size + positions[i % to.size];
      std::memcpy(target + size_t(i) * slice_bytes, source + size_t(slice) * slice_bytes, slice_bytes);
    }
  });
}

void index_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  const Lanes to = lanes_of(self, axis), from = lanes_of(source, axis);
  const int64_t* positions = index.data<int64_t>();
  if (source.numel() == 0) return;
  dispatch_sum(self.dtype(), [&]<class T>() {
    T* sums = self.data<T>();
    const T* values = source.data<T>();
    // A piece is a range of lanes: one thread adds everything that goes to one element, in order.
    parallel_for(from.count(), lane_grain(from), [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t outer = begin / from.inner, first = begin % from.inner;
        const int64_t last = std::min(from.inner, first + end - begin);
        for (int64_t k = 0; k < from.size; ++k) {
          T* sum = sums + (outer * to.size + positions[k]) * to.inner;
          const T* value = values + (outer * from.size + k) * from.inner;
          for (int64_t i = first; i < last; ++i) sum[i] = T(sum[i] + value[i]);
        }
        begin += last - first;
      }
    });
  });
}

void gather_cpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  const Lanes from = lanes_of(x, axis), to = lanes_of(index, axis);
  const int64_t* positions = index.data<int64_t>();
  dispatch_width(size_of(x.dtype()), [&]<class Word>() {
    const Word* source = static_cast<const Word*>(x.data_ptr());
    Word* target = static_cast<Word*>(result.data_ptr());
    parallel_for(result.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t outer = i / (to.size * to.inner), inner = i % to.inner;
        target[i] = source[(outer * from.size + positions[i]) * from.inner + inner];
      }
    });
  });
}

void scatter_add_cpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  const Lanes to = lanes_of(self, axis), from = lanes_of(index, axis);
  const int64_t* positions = index.data<int64_t>();
  dispatch_sum(self.dtype(), [&]<class T>() {
    T* sums = self.data<T>();
    const T* values = source.data<T>();
    // One lane reaches only its own lane of self, so lanes are independent.
    parallel_for(from.count(), lane_grain(from), [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) {
        const int64_t start = from.start(lane);
        T* lane_sums = sums + to.start(lane);
        for (int64_t i = 0; i < from.size; ++i) {
          T& sum = lane_sums[positions[start + i * from.inner] * to.inner];
          sum = T(sum + values[start + i * from.inner]);
        }
      }
    });
  });
}

void one_hot_cpu(const Tensor& index, int64_t classes, const Tensor& result) {
  const int64_t* positions = index.data<int64_t>();
  int64_t* rows = result.data<int64_t>();
  std::fill(rows, rows + result.numel(), 0);
  for (int64_t i = 0; i < index.numel(); ++i) rows[i * classes + positions[i]] = 1;
}

}  // namespace taper::ops
