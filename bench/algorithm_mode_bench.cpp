// How much benchmark mode speeds up a training step of ResNet-50 on the CPU: steps with measured and with
// estimated algorithms in turns, within one process, and how long the first step of each takes.
//
//   algorithm_mode_bench SIZE BATCH STEPS THREADS     (for example 224 8 12 2)
//
// Set TAPER_ALGORITHM_CACHE to a new file to begin without measurements. Then run it twice: the second
// process finds everything measured, and its first measured step costs nothing extra.

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <vector>

#include "taper/autograd/functions.h"
#include "taper/core/base/median.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/random/random.h"

using namespace taper;

namespace {

struct Training {
  Training(int64_t size, int64_t batch)
      : images(ops::contiguous(ops::randn({batch, 3, size, size}), kChannelsLast)),
        labels(from_vector(std::vector<int64_t>(size_t(batch), 1))) {}

  /// Runs one step. Returns its seconds.
  double step() {
    const auto start = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    const Tensor loss = cross_entropy(model(images), labels);
    loss.backward();
    optimizer.step();
    loss.item();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  ResNet model = resnet50();
  SGD optimizer{model.named_parameters(), {.lr = 0.01, .momentum = 0.9}};
  Tensor images, labels;
};

}  // namespace

int main(int argc, char** argv) {
  start_program("algorithm_mode_bench");
  if (argc != 5) {
    fmt::print(stderr, "usage: algorithm_mode_bench SIZE BATCH STEPS THREADS\n");
    return 2;
  }
  const int64_t steps = std::atoll(argv[3]);
  set_num_threads(std::atoi(argv[4]));
  Training training(std::atoll(argv[1]), std::atoll(argv[2]));
  training.step();  // takes memory from the system

  struct Mode {
    const char* name;
    AlgorithmMode mode;
    std::vector<double> seconds = {};
    double first = 0;
  };
  Mode modes[] = {{"estimated", AlgorithmMode::kHeuristic}, {"measured", AlgorithmMode::kBenchmark}};
  for (int64_t round = 0; round < 3; ++round) {
    for (Mode& mode : modes) {
      algorithm_cache().set_mode(mode.mode);
      const double first = training.step();  // chooses for every problem
      if (round == 0) mode.first = first;
      for (int64_t i = 0; i < (steps + 2) / 3; ++i) mode.seconds.push_back(training.step());
    }
  }
  for (const Mode& mode : modes) {
    fmt::print("{:9}  first step {:7.3f} s, then {:7.3f} s (median of {})\n", mode.name, mode.first,
               median(mode.seconds), mode.seconds.size());
  }
  const AlgorithmStatistics done = algorithm_cache().statistics();
  fmt::print("measured / estimated {:.3f}; {} problems were measured here in {:.1f} s\n",
             median(modes[1].seconds) / median(modes[0].seconds), done.benchmarked, done.benchmark_seconds);
}
