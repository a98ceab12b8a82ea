#include "tests/support/test_folders.h"

#include "tests/support/folder.h"

// Only this file is compiled with paths of this checkout. All others compile to equal bytes anywhere, so
// checkouts can share what ccache keeps.

std::string test_data_folder() {
  return folder_from("TAPER_TEST_DATA", TAPER_TEST_DATA);
}

std::string oracle_folder() {
  return folder_from("TAPER_ORACLE_DIR", TAPER_ORACLE_DIR);
}
