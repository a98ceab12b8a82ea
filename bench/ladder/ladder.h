#pragma once
// A ladder: versions of one kernel, from the naive one to the one that Taper ships. Each is checked, timed,
// and compared with the one before. The programs ladder_NAME print what docs/8-writing-a-fast-kernel.md
// explains. Only hardware gives times; on the simulated GPU the programs print what it can count.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace taper::ladder {

struct Rung {
  std::string name;
  std::string change;             ///< what is different, and why it helps
  std::function<void()> run;      ///< enqueues the kernel on the current stream
  std::function<double()> error;  ///< of what it wrote, relative to what rounding allows: at most 1 is right
  double work = 0;                ///< floating-point operations, or bytes
  /// Bytes that its warps request from memory, in whole sectors of 32 bytes and as if there were no cache,
  /// for each byte that has to move. 0: depends on the chosen tile.
  double traffic = 0;
};

struct Ladder {
  std::string title;     ///< "matrix product, [512, 512] x [512, 512]"
  std::string unit;      ///< of rates: "TFLOP/s", "GB/s"
  double unit_size = 1;  ///< operations or bytes a second in one unit
  std::vector<Rung> rungs;
};

/// The sizes that --size accepts.
struct Sizes {
  int64_t simulated = 0;  ///< the default on the simulated GPU
  int64_t hardware = 0;   ///< the default on a real one
  int64_t multiple = 1;   ///< only multiples of this
};

/// Runs the program: reads `--size N --json FILE`, runs the rungs of make(size), prints a table of times and
/// rates (on the simulated GPU, of counts), and writes it to FILE. Returns main's exit code: 1 if a rung's
/// result is wrong, 2 for a bad flag.
int climb(int argc, char** argv, const Sizes& sizes, const std::function<Ladder(int64_t size)>& make);

}  // namespace taper::ladder
