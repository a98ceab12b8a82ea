#include "taper/core/draw_log.h"

#include "taper/core/base/error.h"

namespace taper {
namespace {

constinit thread_local DrawLog::Scope* innermost_scope = nullptr;

}  // namespace

DrawnRange DrawLog::draw(Generator& generator, uint64_t blocks, Device device) {
  return Scope::draw_through(innermost_scope, generator, blocks, device);
}

bool DrawLog::is_replaying() {
  return innermost_scope != nullptr && innermost_scope->replays();
}

DrawLog::Scope::Scope() : outer_(innermost_scope) {
  innermost_scope = this;
}

DrawLog::Scope::~Scope() {
  innermost_scope = outer_;
}

DrawnRange DrawLog::Scope::draw_through(Scope* scope, Generator& generator, uint64_t blocks, Device device) {
  return scope != nullptr ? scope->draw(generator, blocks, device) : generator.advance(blocks, device);
}

DrawnRange DrawLog::Recording::draw(Generator& generator, uint64_t blocks, Device device) {
  const DrawnRange range = draw_through(outer_, generator, blocks, device);
  log_.draws_.push_back({blocks, range});
  return range;
}

DrawnRange DrawLog::Replay::draw(Generator&, uint64_t blocks, Device) {
  TAPER_CHECK(
      next_ < log_.draws_.size() && log_.draws_[next_].blocks == blocks,
      "{}: the second run draws other random numbers than the first, which drew {} times; this is draw "
      "{}, of {} blocks of numbers; both runs must do the same",
      who_, log_.draws_.size(), next_ + 1, blocks);
  return log_.draws_[next_++].range;
}

void DrawLog::Replay::check_finished() const {
  TAPER_CHECK(
      next_ == log_.draws_.size(),
      "{}: the second run drew random numbers {} times, the first {} times; both runs must do the same", who_,
      next_, log_.draws_.size());
}

}  // namespace taper
