#pragma once
// What PyTorch, torchvision or PIL computed, for tests to compare with.
//
// tests/oracle/NAME_oracle.py writes files into a folder before ctest runs NAME_test; on a machine without
// these Python packages there is no folder, and the comparison says so and is left out.

#include <catch2/catch.hpp>
#include <fstream>
#include <optional>
#include <string>

#include "tests/support/test_folders.h"

/// The folder that tests/oracle/NAME_oracle.py has filled, or nothing (with a warning) where it has not run.
inline std::optional<std::string> oracle_dir(const std::string& name) {
  const std::string folder = oracle_folder() + "/" + name;
  if (std::ifstream(folder + "/DONE").good()) return folder;
  WARN("no oracle in " + folder + ": run `ctest -R oracle_" + name +
       "` (needs python3-torch); nothing compared");
  return std::nullopt;
}
