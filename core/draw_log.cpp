#include "taper/core/draw_log.h"

#include "taper/core/base/error.h"

namespace taper {
namespace {

constinit thread_local DrawLog::Scope* innermost_scope = nullptr;

}  // namespace

GeneratorState DrawLog::draw(Generator& generator, uint64_t blocks) {
  return Scope::draw_through(innermost_scope, generator, blocks);
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

GeneratorState DrawLog::Scope::draw_through(Scope* scope, Generator& generator, uint64_t blocks) {
  return scope != nullptr ? scope->draw(generator, blocks) : generator.advance(blocks);
}

GeneratorState DrawLog::Recording::draw(Generator& generator, uint64_t blocks) {
  const GeneratorState first = draw_through(outer_, generator, blocks);
  log_.draws_.push_back({blocks, first});
  return first;
}

GeneratorState DrawLog::Replay::draw(Generator&, uint64_t blocks) {
  TAPER_CHECK(
      next_ < log_.draws_.size() && log_.draws_[next_].blocks == blocks,
      "{}: the second run draws other random numbers than the first, which drew {} times; this is draw "
      "{}, of {} blocks of numbers; both runs must do the same",
      who_, log_.draws_.size(), next_ + 1, blocks);
  return log_.draws_[next_++].first;
}

void DrawLog::Replay::check_finished() const {
  TAPER_CHECK(
      next_ == log_.draws_.size(),
      "{}: the second run drew random numbers {} times, the first {} times; both runs must do the same", who_,
      next_, log_.draws_.size());
}

}  // namespace taper
