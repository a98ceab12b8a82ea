#pragma once
// What the user reads when a kernel on the simulated GPU makes a fault.

#include <cstdio>
#include <string>

#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif
#include "tests/support/child_process.h"

namespace taper::test {

/// Returns what the user reads after `launch`: the error that synchronize throws or, if a sanitizer was
/// faster and ended the process, the sanitizer's report.
template <class Launch>
std::string fault_report(Launch&& launch) {
  std::string text = "nothing reported";
  auto run = [&] {
    try {
      launch();
      gpu::synchronize();
    } catch (const Error& error) {
      text = error.what();
    }
  };
#if defined(__SANITIZE_ADDRESS__)
  return run_in_child([&, devices = gpu::device_count()] {
           gpu::sim::reset();  // a child has no GPU otherwise
           if (devices != 1) gpu::sim::set_device_count(devices);
           run();
           fputs(text.c_str(), stderr);
         })
      .stderr_text;
#else
  run();
  return text;
#endif
}

}  // namespace taper::test
