#pragma once
// Tensors for tests: random ones, equal in every run, and checks of results.

#include <random>
#include <vector>

#include "taper/core/base/parallel.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"

namespace taper {

/// Returns numbers uniform in [-scale, scale), row-major. Different seeds give different numbers.
inline Tensor random_tensor(const Shape& shape, DType dtype = kFloat64, uint64_t seed = 1, double scale = 1) {
  std::mt19937_64 engine(seed);
  std::vector<double> values(static_cast<size_t>(numel(shape)));
  for (double& value : values) value = double(engine() >> 11) * 0x1p-52 * scale - scale;
  return ops::cast(from_vector(values, shape), dtype);
}

/// A leaf for gradcheck.
inline Tensor leaf(const Shape& shape, uint64_t seed = 1) {
  return random_tensor(shape, kFloat64, seed).set_requires_grad();
}

/// Returns the sum of a * b over all elements.
inline double dot(const Tensor& a, const Tensor& b) {
  const auto x = ops::to_vector<double>(a), y = ops::to_vector<double>(b);
  TAPER_CHECK(a.shape() == b.shape(), "dot: shapes {} and {} differ", a.shape(), b.shape());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// Returns where op tests run: `const Device device = GENERATE(from_range(test_devices()))`. The GPU is this
/// build's, simulated or real.
inline std::vector<Device> test_devices() {
  std::vector<Device> devices = {Device("cpu")};
  if (gpu::device_count() > 0) devices.push_back(Device("cuda"));
  return devices;
}

/// While it lives, fresh memory is NaN, so that a test sees what an op does not write.
struct PoisonedMemory {
  PoisonedMemory() { set_poison_new_memory(true); }
  ~PoisonedMemory() { set_poison_new_memory(false); }
};

/// Sets the number of threads while it lives.
class ThreadsGuard {
 public:
  explicit ThreadsGuard(int count) { set_num_threads(count); }
  ~ThreadsGuard() { set_num_threads(before_); }
  ThreadsGuard(const ThreadsGuard&) = delete;
  ThreadsGuard& operator=(const ThreadsGuard&) = delete;

 private:
  int before_ = num_threads();
};

}  // namespace taper
