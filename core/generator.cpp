#include "taper/core/generator.h"

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/draw_log.h"
#include "taper/core/gpu/runtime.h"

namespace taper {

GeneratorState Generator::reserve(uint64_t blocks, Device device) {
  if (device.is_cuda() && blocks > 0) {
    TAPER_CHECK(
        !gpu::is_capturing(gpu::current_stream(device.index)),
        "{}: random numbers cannot be drawn on {} while its current stream captures a graph: every replay "
        "would draw the same ones; draw them before the capture, and capture dropout with p = 0 or in "
        "eval mode",
        OpScope::current().empty() ? "Generator" : OpScope::current(), device);
  }
  return DrawLog::draw(*this, blocks);
}

GeneratorState Generator::advance(uint64_t blocks) {
  const std::lock_guard lock(mutex_);
  const GeneratorState first = state_;
  state_.counter += blocks;
  return first;
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
