#pragma once
// The live line of a long run: redrawn in place on a terminal, silent elsewhere.

#include <chrono>
#include <cstdint>
#include <string>

namespace taper {

enum class ProgressMode { kAuto, kOn, kOff };

/// A line on stderr such as
///   epoch 3/12  [########------------]  412/540  loss 0.3012  lr 0.0113  181 img/s  ETA 0:41  mem 1.2 GB
/// redrawn at most ten times a second. kAuto draws only if stderr is a terminal.
class ProgressLine {
 public:
  explicit ProgressLine(ProgressMode mode);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool enabled() const { return enabled_; }
  /// Shows `done` of `total` steps, with `text` after the bar and the time left, estimated from the pace
  /// since the task (a new `total`) began.
  void update(const std::string& title, int64_t done, int64_t total, const std::string& text);
  /// Erases the line, so that other output starts on a clean one.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool enabled_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_{};
  int64_t first_done_ = 0;
  int64_t total_ = -1;  ///< of the current task
};

/// "0:41", "1:02:03".
std::string format_duration(double seconds);
/// "312 MB", "1.2 GB".
std::string format_bytes(int64_t bytes);

}  // namespace taper
