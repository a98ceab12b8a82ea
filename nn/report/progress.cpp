#include "taper/nn/report/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace taper {
namespace {

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 100;
}

}  // namespace

ProgressLine::ProgressLine(ProgressMode mode)
    : enabled_(mode == ProgressMode::kOn || (mode == ProgressMode::kAuto && isatty(STDERR_FILENO) != 0)) {}

void ProgressLine::update(const std::string& title, int64_t done, int64_t total, const std::string& text) {
  if (!enabled_) return;
  const auto now = Clock::now();
  if (total != total_) {
    total_ = total;
    first_done_ = done;
    start_ = now;
  }
  if (drawn_ && done < total && now - last_drawn_ < std::chrono::milliseconds(100)) return;
  constexpr int64_t kBarWidth = 20;
  const int64_t filled = total > 0 ? std::clamp<int64_t>(done * kBarWidth / total, 0, kBarWidth) : 0;
  std::string line = fmt::format("{}  [{}{}]  {}/{}  {}", title, std::string(size_t(filled), '#'),
                                 std::string(size_t(kBarWidth - filled), '-'), done, total, text);
  if (done > first_done_) {
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    line += "  ETA " + format_duration(elapsed / double(done - first_done_) * double(total - done));
  }
  line.resize(std::min(line.size(), terminal_width() - 1));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
  last_drawn_ = now;
}

void ProgressLine::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

std::string format_duration(double seconds) {
  const auto whole = int64_t(std::max(seconds, 0.0) + 0.5);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string format_bytes(int64_t bytes) {
  if (bytes < 1000000000) return fmt::format("{} MB", (bytes + 500000) / 1000000);
  return fmt::format("{:.1f} GB", double(bytes) * 1e-9);
}

}  // namespace taper
