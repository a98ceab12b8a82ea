#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/runtime.h"

namespace {

/// After a kernel's fault every further test on the GPU would fail for the same reason, so the run ends, with
/// an exit code of its own, which scripts/gpu_check.sh knows.
class EndWithLostGpu : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    constexpr int kExitCode = 3;
    for (int device = 0; device < taper::gpu::device_count(); ++device) {
      if (!taper::gpu::is_lost(device)) continue;
      try {
        taper::gpu::synchronize(device);
      } catch (const taper::Error& error) {
        std::fprintf(stderr, "the GPU was lost in \"%s\" (%s:%zu); the tests after it were not run: %s\n",
                     stats.testInfo.name.c_str(), stats.testInfo.lineInfo.file, stats.testInfo.lineInfo.line,
                     error.what());
      }
      std::fflush(nullptr);
      std::_Exit(kExitCode);
    }
  }
};

CATCH_REGISTER_LISTENER(EndWithLostGpu)

}  // namespace
