#include "taper/core/generator.h"

#include "taper/core/draw_log.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/gpu/runtime.h"

namespace taper {

DrawnRange Generator::reserve(uint64_t blocks, Device device) {
  return DrawLog::draw(*this, blocks, device);
}

DrawnRange Generator::advance(uint64_t blocks, Device device) {
  constexpr const char* kWhy =
      "random numbers cannot be drawn on a GPU while its current stream captures a graph: every replay would "
      "draw the same ones; let a CapturedStep capture the graph, or draw them before the capture, and "
      "capture dropout with p = 0 or in eval mode";
  if (blocks > 0) gpu::detail::refuse_in_capture(device, kWhy);
  const std::lock_guard lock(mutex_);
  const GeneratorState first = state_;
  state_.counter += blocks;
  return {first};
}

void Generator::set_state(GeneratorState state) {
  if (DrawLog::is_replaying()) return;
  const std::lock_guard lock(mutex_);
  state_ = state;
}

Generator& default_generator() {
  static Generator generator;
  return generator;
}

void manual_seed(uint64_t seed) {
  default_generator().manual_seed(seed);
}

}  // namespace taper
