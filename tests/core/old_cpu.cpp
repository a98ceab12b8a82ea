// Replaces core/base/cpu_needed.cpp and requires a feature that no CPU has. The program must end before its
// static objects are made.

#include <cstdio>

#include "taper/core/base/cpu_features.h"

namespace taper::detail {
constinit const char* const kNeededCpuFeatures[] = {"no-such-feature", nullptr};
}

namespace {
const int kPrinted = std::puts("it ran a static constructor");
}

int main() {
  std::puts("it ran");
  return kPrinted < 0;
}
