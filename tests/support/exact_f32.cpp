// Every test begins with exact f32 convolutions, since a GPU's results are compared with the CPU's. A test
// tagged [tf32] begins with a program's initial setting, which allows TF32 for convolutions.

#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <algorithm>
#include <catch2/catch.hpp>

#include "taper/core/tf32.h"

namespace {

struct ExactF32 : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& test) override {
    static const bool at_start = taper::allow_tf32_conv();
    const bool about_tf32 = std::find(test.tags.begin(), test.tags.end(), "tf32") != test.tags.end();
    taper::set_allow_tf32_conv(about_tf32 && at_start);
  }
};

CATCH_REGISTER_LISTENER(ExactF32)

}  // namespace
