// What checkpoints cost training: blocks of steps without and with a save in them take turns.
//
//   checkpoint_bench --arch resnet50 --batch 8 --size 224 --steps 4 --blocks 5
//
// A save costs training the copy in host memory, for which a step waits, and whatever the thread that writes takes
// from the steps beside it. The last lines say how much longer a block with a save took, by the medians, and from
// which interval between saves on that is less than 2% of the time.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "taper/core/base/cpu_level.h"
#include "taper/core/base/median.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/nn/checkpoint/checkpoint_writer.h"
#include "taper/nn/data/synthetic_dataset.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/train/train_step.h"
#include "taper/nn/train/training_state.h"

using namespace taper;

namespace {

struct BenchOptions {
  std::string device = "cpu", arch = "resnet50", precision = "f32", folder = "checkpoint_bench.tmp";
  int64_t batch = 8, steps = 4, blocks = 5;
  int size = 224;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A model with AdamW and an average: four copies of the weights, as much as a checkpoint holds.
class Training {
 public:
  explicit Training(const BenchOptions& options)
      : options_(options),
        model_(make_resnet(options.arch, {.num_classes = 1000})),
        loader_(std::make_shared<SyntheticDataset>(options.batch * options.steps, 1000, options.size, 0),
                evaluation_transform(options.size, options.size),
                {.batch_size = options.batch, .device = Device(options.device)}),
        writer_(options.folder, 1) {
    model_.to(Device(options.device));
    optimizer_.emplace(model_.named_parameters(), AdamWOptions{});
    ema_.emplace(model_.named_parameters(), 0.999);
    state_.add_optimizer(*optimizer_);
    state_.add("ema", *ema_);
    TrainStepOptions step_options = {.ema = &*ema_};
    if (options.precision == "bf16") step_options.autocast = kBFloat16;
    step_.emplace(classification_loss(model_), *optimizer_, step_options);
  }

  /// Trains a block of steps. Returns its seconds, and those for which training stood still.
  std::pair<double, double> block(bool save) {
    double waited = 0;
    const auto start = Clock::now();
    loader_.start(0);
    for (int64_t i = 0; i < options_.steps; ++i) {
      (void)(*step_)({*loader_.next()}).loss();
      if (i > 0 || !save) continue;
      const auto begin = Clock::now();
      writer_.start(state_.snapshot(), ++saved_, false);
      waited = seconds_since(begin);
    }
    const double seconds = seconds_since(start);
    if (const auto written = writer_.take(true)) {
      TAPER_CHECK(written->error.empty(), "{}", written->error);
      written_seconds_ = written->seconds;
    }
    return {seconds, waited};
  }
  double written_seconds() const { return written_seconds_; }

 private:
  BenchOptions options_;
  ResNet model_;
  DataLoader loader_;
  CheckpointWriter writer_;
  TrainingState state_{model_};
  std::optional<AdamW> optimizer_;
  std::optional<Ema> ema_;
  std::optional<TrainStep> step_;
  int64_t saved_ = 0;
  double written_seconds_ = 0;
};

void run(const BenchOptions& options) {
  Training training(options);
  training.block(true);  // fills caches
  std::vector<double> without, with, waits;
  for (int64_t i = 0; i < options.blocks; ++i) {
    without.push_back(training.block(false).first);
    const auto [seconds, waited] = training.block(true);
    with.push_back(seconds);
    waits.push_back(waited);
    print_out(
        "block {}: {:.3f} s without, {:.3f} s with a save; a step waited {:.3f} s, writing took {:.3f} s\n",
        i + 1, without.back(), seconds, waited, training.written_seconds());
    std::fflush(stdout);
  }
  const double more = median(with) - median(without);
  print_out("{}, {} images of {} px, {}, {}, {}\n", options.arch, options.batch, options.size,
            options.precision, options.device, name(cpu_level()));
  print_out("a step without a save: {:.3f} s; a save: {:.3f} s longer, a step waits {:.3f} s of it\n",
            median(without) / double(options.steps), more, median(waits));
  print_out("less than 2% if at least {:.0f} s lie between saves\n", std::max(more, median(waits)) / 0.02);
}

}  // namespace

int main(int argc, char** argv) {
  start_program("checkpoint_bench");
  BenchOptions options;
  CLI::App app("What checkpoints cost training.", "checkpoint_bench");
  app.add_option("--device", options.device)->capture_default_str();
  app.add_option("--arch", options.arch)->capture_default_str();
  app.add_option("--precision", options.precision)
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--folder", options.folder, "where to save; removed at the end")->capture_default_str();
  app.add_option("--batch", options.batch)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--size", options.size)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--steps", options.steps, "in a block")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--blocks", options.blocks)->check(CLI::PositiveNumber)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
  std::filesystem::remove_all(options.folder);
}
