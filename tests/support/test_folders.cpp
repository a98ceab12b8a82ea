#include "tests/support/test_folders.h"

#include "tests/support/folder.h"

// The only file that is compiled with paths of this checkout: all others compile to the same bytes anywhere,
// and checkouts can share what ccache keeps.

std::string test_data_folder() {
  return folder_from("TAPER_TEST_DATA", TAPER_TEST_DATA);
}

std::string oracle_folder() {
  return folder_from("TAPER_ORACLE_DIR", TAPER_ORACLE_DIR);
}
