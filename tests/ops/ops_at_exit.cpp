// Ops in the destructor of a static object that is older than everything the library makes. It runs after
// main, when the main thread's thread-local objects and the library's younger static objects have been
// destroyed.

#include <cstdio>
#include <cstdlib>
#include <thread>

#include <taper/taper.h>
#include "taper/core/base/parallel.h"
#include "taper/core/profiler.h"
#include "taper/ops/algorithms/algorithm_cache.h"

using namespace taper;

namespace {

/// A product and a sum on `device`, long enough for several threads.
double compute(const Tensor& x, Device device) {
  const Tensor y = x.to(device);
  return matmul(y, y).sum().cpu().item<float>();
}

struct Saver {
  Tensor x;
  double on_cpu = 0, on_gpu = 0;

  Saver() = default;
  ~Saver() {
    try {
      algorithm_cache().set_file("");
      algorithm_cache().set_mode(AlgorithmMode::kBenchmark);  // asks for the names of the machine, too
      const bool good = compute(x, kCPU) == on_cpu && (on_gpu == 0 || compute(x, kCUDA) == on_gpu);
      algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
      Profiler profiler;
      const bool good_again = compute(x, kCPU) == on_cpu && (on_gpu == 0 || compute(x, kCUDA) == on_gpu);
      std::puts(good && good_again ? "the ops at exit were right" : "the ops at exit were wrong");
    } catch (const std::exception& error) {
      std::printf("the ops at exit failed: %s\n", error.what());
    }
    std::fflush(stdout);
  }
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;
};

Saver saver;

}  // namespace

int main() {
  set_num_threads(3);
  saver.x = ones({256, 256});
  saver.on_cpu = compute(saver.x, kCPU);
#if TAPER_SIMULATED_GPU  // at exit CUDA's driver may be gone, which is not ours to help
  saver.on_gpu = compute(saver.x, kCUDA);
#endif
  std::puts("main ends");
}
