#pragma once
// Reads what PyTorch, torchvision or PIL computed, for tests to compare with.
//
// tests/oracle/NAME_oracle.py writes files into a folder before ctest runs compare_NAME: the cases of
// NAME_test with the tag [oracle]. Without the Python packages there is no folder, and the cases are skipped.

#include <catch2/catch.hpp>
#include <fstream>
#include <optional>
#include <string>

#include "tests/support/skip.h"
#include "tests/support/test_folders.h"

/// Returns the folder that tests/oracle/NAME_oracle.py has filled. If it has not run, counts the test case as
/// skipped and returns nothing.
inline std::optional<std::string> oracle_dir(const std::string& name) {
  const std::string folder = oracle_folder() + "/" + name;
  if (std::ifstream(folder + "/DONE").good()) return folder;
  skip("no oracle in " + folder + ": run `ctest -R oracle_" + name + "` (needs python3-torch)");
  return std::nullopt;
}
