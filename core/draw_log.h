#pragma once
// What a stretch of code drew from generators, so that it can run again on the same random numbers, as
// activation checkpointing does. The second run leaves the generators alone, so neither an exception nor
// another thread can find them rewound. PyTorch's counterpart: preserve_rng_state in
// torch/utils/checkpoint.py, which rewinds the default generators.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "taper/core/generator.h"

namespace taper {

/// The ranges of counters that one thread drew, from whichever generators, in order.
class DrawLog {
 public:
  class Scope;
  class Recording;
  class Replay;

 private:
  friend class Generator;

  /// Draws through the scopes of this thread, or from `generator` itself if there are none.
  static DrawnRange draw(Generator& generator, uint64_t blocks, Device device);
  static bool is_replaying();

  struct Draw {
    uint64_t blocks = 0;
    DrawnRange range;
  };
  std::vector<Draw> draws_;
};

/// Scopes nest. An outer scope does not see what an inner one replays.
class DrawLog::Scope {
 public:
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 protected:
  Scope();
  virtual ~Scope();
  virtual DrawnRange draw(Generator& generator, uint64_t blocks, Device device) = 0;
  virtual bool replays() const { return false; }
  static DrawnRange draw_through(Scope* scope, Generator& generator, uint64_t blocks, Device device);

  Scope* const outer_;

 private:
  friend class DrawLog;
};

/// While it lives, writes what this thread draws to the log.
class DrawLog::Recording final : public Scope {
 public:
  explicit Recording(DrawLog& log) : log_(log) {}

 private:
  DrawnRange draw(Generator& generator, uint64_t blocks, Device device) override;
  DrawLog& log_;
};

/// While it lives, this thread draws what is in the log. No generator changes meanwhile, neither by draws nor
/// by set_state() and manual_seed().
class DrawLog::Replay final : public Scope {
 public:
  /// Messages begin with `who`.
  Replay(const DrawLog& log, std::string_view who) : log_(log), who_(who) {}

  /// Throws Error if the code drew less than the log has.
  void check_finished() const;

 private:
  /// Throws Error if the code draws more than the log has, or in other portions.
  DrawnRange draw(Generator& generator, uint64_t blocks, Device device) override;
  bool replays() const override { return true; }

  const DrawLog& log_;
  std::string_view who_;
  size_t next_ = 0;
};

}  // namespace taper
