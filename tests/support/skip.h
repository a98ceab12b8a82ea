#pragma once
// For a test case that cannot test anything on this machine. (Catch2 has SKIP from 3.3 on.)

#include <catch2/catch.hpp>
#include <string>

/// Notes that the running test case tests nothing here, and why. Defined in main.cpp.
void note_skipped(const std::string& why);

/// Counts the running test case as skipped. A run in which every case is skipped ends with exit code 77,
/// which ctest and scripts/gpu_check.sh show as "skipped". The caller returns from the case.
inline void skip(const std::string& why) {
  WARN("skipped: " + why);
  note_skipped(why);
}
