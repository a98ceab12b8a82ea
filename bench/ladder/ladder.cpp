#include "bench/ladder/ladder.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/median.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/program.h"
#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim.h"
#endif
#include "taper/core/gpu/runtime.h"

namespace taper::ladder {
namespace {

/// Returns the error of what the rung has just written. Throws Error if it is too large.
double checked_error(const Rung& rung) {
  const double error = rung.error();
  TAPER_CHECK(error <= 1, "{}: the result is wrong: {:.3g} times the error that rounding allows", rung.name,
              error);
  return error;
}

#if TAPER_SIMULATED_GPU

nlohmann::json run(const Ladder& ladder) {
  const std::string device = gpu::properties().name;
  fmt::print("{} on {}\n\n{:<18}{:>9}{:>8}{:>10}{:>10}{:>9}  what changed\n", ladder.title, device, "rung",
             "launches", "blocks", "barriers", "warp ops", "traffic");
  nlohmann::json rungs = nlohmann::json::array();
  for (const Rung& rung : ladder.rungs) {
    gpu::synchronize();
    gpu::sim::reset_kernel_counts();
    rung.run();
    gpu::synchronize();
    const gpu::sim::KernelCounts counts = gpu::sim::kernel_counts();
    const double error = checked_error(rung);
    fmt::print("{:<18}{:>9}{:>8}{:>10}{:>10}{:>9}  {}\n", rung.name, counts.launches, counts.blocks,
               counts.barriers, counts.warp_operations,
               rung.traffic > 0 ? fmt::format("{:.1f}x", rung.traffic) : "", rung.change);
    rungs.push_back({{"name", rung.name},
                     {"launches", counts.launches},
                     {"blocks", counts.blocks},
                     {"barriers", counts.barriers},
                     {"warp_operations", counts.warp_operations},
                     {"traffic", rung.traffic},
                     {"error", error}});
  }
  fmt::print("\nevery result is right; times come from hardware\n");
  return {{"title", ladder.title}, {"device", device}, {"rungs", rungs}};
}

#else

/// Returns the milliseconds of `run` on the current stream: the median of `repeats`, after one run to warm
/// up.
double median_ms(const std::function<void()>& run, int repeats) {
  run();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn);
    start.record();
    run();
    end.record();
    end.synchronize();
    times.push_back(double(end.elapsed_ms(start)));
  }
  return median(std::move(times));
}

nlohmann::json run(const Ladder& ladder) {
  const std::string device = gpu::properties().name;
  constexpr int repeats = 21;
  fmt::print("{} on {}\n\n{:<18}{:>10}{:>10}{:>10}  what changed\n", ladder.title, device, "rung", "ms",
             ladder.unit, "vs. last");
  nlohmann::json rungs = nlohmann::json::array();
  double last = 0;
  for (const Rung& rung : ladder.rungs) {
    const double ms = median_ms(rung.run, repeats), error = checked_error(rung);
    const double rate = rung.work / (ms * 1e-3) / ladder.unit_size;
    fmt::print("{:<18}{:>10.4g}{:>10.4g}{:>10}  {}\n", rung.name, ms, rate,
               last > 0 ? fmt::format("{:.2f}x", last / ms) : "", rung.change);
    std::fflush(stdout);
    rungs.push_back({{"name", rung.name}, {"ms", ms}, {"rate", rate}, {"error", error}});
    last = ms;
  }
  return {{"title", ladder.title}, {"device", device}, {"unit", ladder.unit}, {"rungs", rungs}};
}

#endif

}  // namespace

int climb(int argc, char** argv, const Sizes& sizes, const std::function<Ladder(int64_t size)>& make) {
  start_program("ladder");
  CLI::App app("Versions of one kernel, from naive to shipped: each checked and timed.");
  int64_t size = gpu::is_simulated() ? sizes.simulated : sizes.hardware;
  std::string json_path;
  app.add_option("--size", size, fmt::format("a multiple of {}", sizes.multiple))->capture_default_str();
  app.add_option("--json", json_path, "also write the figures to this file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (size <= 0 || size % sizes.multiple != 0) {
    fmt::print(stderr, "--size: needs a positive multiple of {}, got {}\n", sizes.multiple, size);
    return 2;
  }
  try {
    TAPER_CHECK(gpu::device_count() > 0, "this machine has no GPU");
    const nlohmann::json report = run(make(size));
    if (json_path.empty()) return 0;
    write_file_atomically(json_path, report.dump(2) + "\n");
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
  return 0;
}

}  // namespace taper::ladder
