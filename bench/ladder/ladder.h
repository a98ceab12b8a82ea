#pragma once
// A ladder: versions of one kernel, from the naive one to the one that Taper ships, each checked, timed, and
// compared with the last. The programs ladder_NAME print what docs/8-writing-a-fast-kernel.md explains. Times
// come from hardware alone: on the simulated GPU the programs print what it can count.

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
  /// Bytes that its warps ask memory for, in whole sectors of 32 and as if no cache helped, for each byte
  /// that has to move; 0: depends on the tile that is chosen.
  double traffic = 0;
};

struct Ladder {
  std::string title;     ///< "matrix product, [512, 512] x [512, 512]"
  std::string unit;      ///< of rates: "TFLOP/s", "GB/s"
  double unit_size = 1;  ///< operations or bytes a second that one unit is
  std::vector<Rung> rungs;
};

/// Sizes that --size may have.
struct Sizes {
  int64_t simulated = 0;  ///< the default on the simulated GPU
  int64_t hardware = 0;   ///< the default on a real one
  int64_t multiple = 1;   ///< only multiples of this
};

/// The program: reads `--size N --json FILE`, runs the rungs of make(size), prints times and rates, or on the
/// simulated GPU counts, as a table, and writes them to FILE. Returns main's exit code: 1 if a rung's result
/// is wrong, 2 for a bad flag.
int climb(int argc, char** argv, const Sizes& sizes, const std::function<Ladder(int64_t size)>& make);

}  // namespace taper::ladder
