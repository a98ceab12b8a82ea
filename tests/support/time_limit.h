#pragma once
// Limits a test over many slow problems: on hardware a vendor's library compiles for seconds.

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <string>

#include "taper/core/gpu/runtime.h"

namespace taper {

/// Counts the problems of a test, and ends it: `if (!limit.takes_one_more()) continue;` before each problem.
/// The limit is TAPER_TEST_SECONDS from the start of the program, for all tests together. By default it is 60
/// s on hardware from the start of the test, and none on the simulated GPU.
class TimeLimit {
 public:
  TimeLimit() {
    const char* const text = std::getenv("TAPER_TEST_SECONDS");
    if (text != nullptr && *text != '\0') {
      seconds_ = std::strtod(text, nullptr);
      start_ = kProgramStart;
    } else {
      seconds_ = gpu::is_simulated() ? std::numeric_limits<double>::infinity() : 60;
    }
  }
  explicit TimeLimit(double seconds) : seconds_(seconds) {}

  /// Returns whether there is time for one more problem, and counts it either way.
  bool takes_one_more() {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    const bool takes = passed.count() < seconds_;
    ++(takes ? problems_ : problems_left_out_);
    return takes;
  }
  /// Counts one checked candidate, or some left-out candidates.
  void checked() { ++checked_; }
  void left_out(int candidates) { candidates_left_out_ += candidates; }

  /// Prints one line on what was checked and what was left out. Fails the test if nothing was checked.
  void report() const {
    if (!gpu::is_simulated() || problems_left_out_ > 0) WARN(text());
    CHECK(checked_ > 0);
  }
  std::string text() const {
    return fmt::format(
        "checked {} candidates for {} problems; left out {} of their candidates, and {} problems after {:g} "
        "s "
        "(TAPER_TEST_SECONDS)",
        checked_, problems_, candidates_left_out_, problems_left_out_, seconds_);
  }

 private:
  static inline const std::chrono::steady_clock::time_point kProgramStart = std::chrono::steady_clock::now();

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double seconds_ = 0;
  int problems_ = 0, problems_left_out_ = 0, checked_ = 0, candidates_left_out_ = 0;
};

}  // namespace taper
