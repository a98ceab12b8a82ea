#pragma once
// Where tests and benchmarks find files, also on a machine that did not build them.

#include <cstdlib>
#include <string>

/// Returns the folder in the environment variable `name` if it is set, else the build's, `at_build`.
inline std::string folder_from(const char* name, const char* at_build) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : at_build;
}
