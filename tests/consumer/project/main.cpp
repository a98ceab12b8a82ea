#include <taper/taper.h>

int main() {
  fmt::print("taper {} has {} digits\n", taper::kVersion, taper::digits_train().size());
}
