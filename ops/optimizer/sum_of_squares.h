#pragma once
// For *_cpu.cpp files only.

#include <cstdint>

namespace taper::ops {

/// Returns the sum of the squares of `count` numbers. Eight sums side by side keep the processor's adders
/// busy; their order never changes.
template <class T>
double sum_of_squares(const T* x, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t k = 0; k < 8; ++k) sums[k] += double(x[i + k]) * double(x[i + k]);
  }
  for (; i < count; ++i) sums[i % 8] += double(x[i]) * double(x[i]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace taper::ops
