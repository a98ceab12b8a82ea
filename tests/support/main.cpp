// The test program's main(): Catch2's, with exit codes of its own for a lost GPU and for a run in which every
// case was skipped.

#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "skip.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/runtime.h"

namespace {

std::string running_case;
std::set<std::string> skipped_cases;
size_t cases_run = 0;

class CountCases : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    running_case = info.name;
    ++cases_run;
  }
};

CATCH_REGISTER_LISTENER(CountCases)

/// After a kernel's fault every further test on the GPU would fail for that reason. So the run ends with an
/// exit code of its own, which scripts/gpu_check.sh knows.
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

void note_skipped(const std::string& why) {
  if (skipped_cases.insert(running_case).second)
    std::fprintf(stderr, "skipped: %s: %s\n", running_case.c_str(), why.c_str());
}

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  const int failures = Catch::Session().run(argc, argv);
  return failures == 0 && cases_run > 0 && skipped_cases.size() == cases_run ? kSkipped : failures;
}
