#pragma once
// Warnings during a test.

#include <string>
#include <vector>

#include "taper/core/base/warning.h"

namespace taper {

/// Collects warnings while it lives.
class Warnings {
 public:
  Warnings() {
    before_ = set_warning_handler([this](std::string_view text) { texts.emplace_back(text); });
  }
  ~Warnings() { set_warning_handler(before_); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  std::vector<std::string> texts;

 private:
  WarningHandler before_;
};

}  // namespace taper
