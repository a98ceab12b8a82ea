#include "options.h"

#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"
#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "watching.h"

namespace taper {
namespace {

constexpr const char* kDescription =
    "Trains a ResNet on images. Without arguments: ResNet-50 on the embedded handwritten digits, in a few\n"
    "minutes on a laptop.";

constexpr const char* kExamples =
    "Examples:\n"
    "  resnet50_train                                     the digits, about 99% right after the last epoch\n"
    "  resnet50_train --arch resnet18 --epochs 3          a smaller network, a shorter run\n"
    "  resnet50_train --dataset imagefolder --data images/train --val images/val --batch-size 64\n"
    "                                                     your own images: one folder for each class\n"
    "  resnet50_train --dataset imagefolder --data images/train --val images/val --pretrained weights.pth\n"
    "    --freeze conv1,bn1,layer1 --freeze-batch-norm frozen --mixup 0.2\n"
    "                                                     weights of other classes, with a new last layer\n"
    "  resnet50_train --dataset synthetic --max-steps 20  how fast does it go?\n"
    "  resnet50_train --checkpoint-dir runs/a --resume auto\n"
    "                                                     a run that can be stopped and started at any time\n"
    "  resnet50_train --init weights.safetensors --eval-only\n"
    "                                                     score weights that torchvision or Taper wrote\n"
    "  mpirun -n 4 resnet50_train                         four processes, each with a quarter of every "
    "batch\n"
    "  torchrun --nproc-per-node 4 --no-python resnet50_train\n"
    "                                                     the same without MPI\n"
    "\n"
    "--log writes one JSON object per optimiser step, --summary one for the run, --profile a few steps as a\n"
    "trace to look at; --report draws the run. If one of them cannot be written, training goes on and the\n"
    "exit code is 1.\n"
    "Once the model and the data are there, Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end the run after the\n"
    "current step, with a checkpoint if there is a --checkpoint-dir; a second one ends it at once.\n"
    "TAPER_CPU=avx2 (or baseline, avx512, avx512-bf16) uses less of the CPU than it has, to compare.\n"
    "Exit codes: 0 done, 1 failed while running (the summary says why), 2 bad flag or file, 130 interrupted\n"
    "(the summary is written), 75 interrupted or out of --max-minutes with a checkpoint to go on from: a\n"
    "scheduler may start the same command again, with --resume auto.";

/// What the flags left open and the checks look at.
void choose_optimisation(TrainOptions& options) {
  const bool digits = options.dataset == "digits";
  if (options.epochs == 0) options.epochs = digits ? 12 : 90;
  if (options.batch_per_rank > 0) options.batch_size = options.batch_per_rank * options.place.size;
  if (options.batch_size == 0) {
    const int64_t ranks = options.place.size;
    options.batch_size = ((digits ? 32 : 64) + ranks - 1) / ranks * ranks;
  }
  if (options.warmup_epochs < 0) options.warmup_epochs = options.schedule == "constant" ? 0 : 1;
  if (options.optimizer.empty()) options.optimizer = digits ? "adamw" : "sgd";
  if (!options.decay_norms) options.decay_norms = options.optimizer != "lamb" && options.optimizer != "lars";
  if (!options.weight_decay)
    options.weight_decay = options.optimizer == "adamw" ? 0.05 : options.optimizer == "lamb" ? 0.01 : 1e-4;
}

void check_flags(const CLI::App& app, const TrainOptions& options) {
  check_data_flags(options);
  check_model_flags(options);
  check_optimisation_flags(options);
  check_schedule_flags(options);
  check_checkpoint_flags(app, options);
  check_rank_flags(options);
  check_running_flags(options);
  check_watching_flags(options);
}

/// A line for each version; the first without a colon.
std::string version_text() {
  std::string text;
  for (const auto& [name, version] : versions())
    text += text.empty() ? fmt::format("{} {}", name, version) : fmt::format("\n{}: {}", name, version);
  return text;
}

std::vector<std::pair<std::string, std::string>> flags_given(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> given;
  for (const CLI::Option* option : app.parse_order()) {
    given.emplace_back(option->get_single_name(), value_given(*option));
  }
  return given;
}

/// One process writes files and shows the run.
void become_rank(TrainOptions& options) {
  if (options.place.rank == 0) return;
  for (std::string* file : {&options.log, &options.summary, &options.profile, &options.memory_report,
                            &options.tensorboard, &options.report})
    file->clear();
  options.progress = ProgressMode::kOff;
}

}  // namespace

std::optional<Exit> parse_options(int argc, char** argv, TrainOptions& options) {
  options.place = rank_place().value_or(RankPlace());
  CLI::App app(kDescription, "resnet50_train");
  app.footer(kExamples);
  app.set_version_flag("--version", version_text, "what this build is made of");
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as other tools have it
  add_data_flags(app, options);
  add_model_flags(app, options);
  add_optimisation_flags(app, options);
  add_schedule_flags(app, options);
  add_checkpoint_flags(app, options);
  add_rank_flags(app, options);
  add_running_flags(app, options);
  add_watching_flags(app, options);
  const auto check = [&] {
    need(options.batch_per_rank == 0 || options.batch_size == 0, "--batch-per-rank",
         "excludes --batch-size, which is of all ranks together");
    choose_optimisation(options);
    need(options.batch_size % options.place.size == 0, "--batch-size",
         fmt::format(
             "{} images cannot be shared evenly by {} ranks: give a multiple of {}, or --batch-per-rank",
             options.batch_size, options.place.size, options.place.size));
    check_flags(app, options);
  };
  if (const auto exit_code = parse_command_line(app, argc, argv, check)) return Exit{*exit_code};
  options.given = flags_given(app);
  options.deciding = deciding_flags(app);
  if (options.eval_only) options.without_effect = flags_of_training(app);
  if (app.count("--device") == 0 && !gpu::is_simulated() && gpu::device_count() > 0) options.device = kCUDA;
  if (options.place.size > 1) become_rank(options);
  if (options.image_size == 0) options.image_size = options.dataset == "digits" ? 32 : 224;
  return std::nullopt;
}

}  // namespace taper
