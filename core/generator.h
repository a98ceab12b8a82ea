#pragma once
// A stream of random numbers with a state that can be saved and restored. Each op that draws takes a range of
// counters and computes element i from counter start + i/4, so the numbers depend neither on the device nor
// on the number of threads. PyTorch's counterpart: ATen/core/Generator.h and CUDAGeneratorImpl's philox
// offset.

#include <cstdint>
#include <mutex>

#include "taper/core/base/device.h"
#include "taper/core/base/host_device.h"
#include "taper/core/philox.h"

namespace taper {

struct GeneratorState {
  uint64_t seed = 0;
  uint64_t counter = 0;  ///< blocks of four 32-bit numbers drawn so far
  bool operator==(const GeneratorState&) const = default;
};

/// Counters that were taken from a generator.
struct DrawnRange {
  GeneratorState first;  ///< the first one; with `base`, how far it lies behind the base
  /// In device memory, for draws in a captured graph: read when a kernel runs, so that each replay draws new numbers.
  const GeneratorState* base = nullptr;

  /// Where the range begins, for the code that draws. With a base, device code only.
  TAPER_HOST_DEVICE GeneratorState begin() const {
    return base == nullptr ? first : GeneratorState{base->seed, base->counter + first.counter};
  }
};

/// Safe to use from several threads: each reserve() returns its own range.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0) : state_{seed, 0} {}

  /// Restarts at the beginning of the stream of `seed`.
  void manual_seed(uint64_t seed) { set_state({seed, 0}); }
  GeneratorState state() const {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  /// Does nothing while this thread replays a DrawLog (core/draw_log.h).
  void set_state(GeneratorState state);
  /// Takes the next `blocks` counters, for numbers that are drawn on `device`. While that GPU's current stream captures a
  /// graph, GraphDraws (ops/random/graph_draws.h) must take part; otherwise every replay would draw the same numbers, and
  /// this throws CaptureError. The scopes of DrawLog see every call.
  DrawnRange reserve(uint64_t blocks, Device device = kCPU);

 private:
  friend class DrawLog;
  DrawnRange advance(uint64_t blocks, Device device);

  mutable std::mutex mutex_;
  GeneratorState state_;
};

/// The generator that ops use by default. Initially seeded with 0; see manual_seed().
Generator& default_generator();
/// Seeds the default generator. (torch.manual_seed)
void manual_seed(uint64_t seed);

}  // namespace taper
