// Compares the results of algorithms on the GPU: only a few kilobytes come back from tensors of gigabytes.

#include <algorithm>
#include <type_traits>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/algorithms/algorithm_compare.h"
#include "taper/ops/algorithms/relative_error.h"
#include "taper/ops/device_dtype.cuh"

namespace taper::detail {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1024;  // at most this many partial results come back

// Both sides combine: blocks on the GPU, then the host combines the blocks' results.
struct Sum {
  static constexpr double kNothing = 0;
  __host__ __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};
struct Largest {
  static constexpr double kNothing = 0;
  __host__ __device__ __forceinline__ double operator()(double a, double b) const { return a < b ? b : a; }
};

template <class T>
__device__ __forceinline__ double as_double(T value) {
  if constexpr (std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>) {
    return double(float(value));
  } else {
    return double(value);
  }
}

template <class T>
struct Square {
  const T* x;
  __device__ __forceinline__ double operator()(int64_t i) const { return as_double(x[i]) * as_double(x[i]); }
};
template <class T>
struct Error {
  const T *actual, *expected;
  double magnitude;
  __device__ __forceinline__ double operator()(int64_t i) const {
    return relative_error(as_double(actual[i]), as_double(expected[i]), magnitude);
  }
};
struct DifferingBits {
  const uint8_t *actual, *expected;
  __device__ __forceinline__ double operator()(int64_t i) const { return __popc(actual[i] ^ expected[i]); }
};

/// partial[block] = value(i) combined by `Combine` over the block's i < count. Any number of blocks of
/// kThreads. Reads each element once. Limited by memory.
template <class Combine, class Value>
__global__ void compare_elements(Value value, int64_t count, double* partial) {
  __shared__ double shared[kThreads];
  const Combine combine;
  double result = Combine::kNothing;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += int64_t(gridDim.x) * kThreads)
    result = combine(result, value(i));
  shared[threadIdx.x] = result;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
  }
  if (threadIdx.x == 0) partial[blockIdx.x] = shared[0];
}

template <class Combine, class Value>
double combined(Device device, const Value& value, int64_t count) {
  const gpu::DeviceGuard guard(device.index);
  const int64_t blocks = std::clamp<int64_t>(ceil_div(count, kThreads), 1, kMostBlocks);
  const Tensor partial = empty({blocks}, {.dtype = kFloat64, .device = device});
  gpu::launch("compare_elements", compare_elements<Combine, Value>,
              {.grid = unsigned(blocks), .block = kThreads}, value, count, partial.data<double>());
  std::vector<double> results(static_cast<size_t>(blocks));
  const gpu::Stream stream = gpu::current_stream();
  gpu::copy_async(results.data(), partial.data_ptr(), results.size() * sizeof(double),
                  gpu::CopyKind::kDeviceToHost, stream);
  stream.synchronize();
  double result = Combine::kNothing;
  for (const double one : results) result = Combine()(result, one);
  return result;
}

template <class T>
const T* data_of(const Tensor& x) {
  return static_cast<const T*>(x.data_ptr());
}

}  // namespace

double sum_of_squares_on_gpu(const Tensor& x, int64_t count) {
  return ops::dispatch_stored(
      x.dtype(), [&]<class T>() { return combined<Sum>(x.device(), Square<T>{data_of<T>(x)}, count); });
}

double worst_error_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count, double magnitude) {
  return ops::dispatch_stored(actual.dtype(), [&]<class T>() {
    return combined<Largest>(actual.device(), Error<T>{data_of<T>(actual), data_of<T>(expected), magnitude},
                             count);
  });
}

int64_t differing_bits_on_gpu(const Tensor& actual, const Tensor& expected, int64_t count) {
  const DifferingBits bits{data_of<uint8_t>(actual), data_of<uint8_t>(expected)};
  return int64_t(combined<Sum>(actual.device(), bits, count));
}

}  // namespace taper::detail
