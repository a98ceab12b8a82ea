#pragma once
// Where tests find the files that they compare with. Environment variables replace both folders, for tests
// that run on another machine than they were built on.

#include <string>

/// tests/data, or TAPER_TEST_DATA.
std::string test_data_folder();

/// The folder that tests/oracle/ writes into, or TAPER_ORACLE_DIR.
std::string oracle_folder();
