// printable() and quote_name(), which stand between a stranger's file and a terminal.

#include "taper/core/base/printable.h"

#include "fuzz.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string shown = printable(text);
  for (const char c : shown)
    fuzz::require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "nothing steers a terminal");
  fuzz::require(printable(shown) == shown, "what is printable stays as it is");
  const std::string quoted = quote_name(text);
  fuzz::require(printable(quoted) == quoted && quoted.front() == '\'' && quoted.ends_with('\''),
                "a name is quoted");
  return 0;
}
