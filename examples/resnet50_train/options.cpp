#include "options.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

#include "examples/command_line.h"
#include "taper/core/base/error.h"
#include "taper/core/files/program.h"
#include "taper/core/gpu/libraries.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"
#include "taper/version.h"

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
    "  resnet50_train --dataset synthetic --max-steps 20  how fast does it go?\n"
    "  resnet50_train --init weights.safetensors --eval-only\n"
    "                                                     score weights that torchvision or Taper wrote\n"
    "\n"
    "--log writes one JSON object per optimiser step, --summary one for the run, --profile a few steps as a\n"
    "trace to look at. If one of them cannot be written, training goes on and the exit code is 1.\n"
    "Once the model and the data are there, Ctrl-C, SIGTERM and SIGHUP end the run after the current step,\n"
    "a second one at once.\n"
    "Exit codes: 0 done, 1 failed while running (the summary says why), 2 bad flag or file, 130 interrupted\n"
    "(the summary is written).";

constexpr double kLargest = 1e38;  // about what f32 can hold

void add_data_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Data";
  app.add_option("--dataset", options.dataset, "digits (embedded), imagefolder (--data, --val), or synthetic")
      ->check(CLI::IsMember({"digits", "imagefolder", "synthetic"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--data", options.data, "training images, DIR/CLASS/*.jpg|jpeg|png (imagefolder)")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--val", options.val, "validation images, laid out as --data")
      ->type_name("DIR")
      ->group(group);
  add_number(app, "--image-size", options.image_size, Range<int64_t>{8, 4096},
             "side of the network's input in pixels (32 for digits, else 224)")
      ->group(group);
  add_number(app, "--resize", options.resize, Range<int64_t>{8, 8192},
             "shorter side before the centre crop (image size * 256 / 224)")
      ->group(group);
  add_number(app, "--num-classes", options.num_classes, Range<int64_t>{1, 1000000},
             "outputs of the network (the data set's classes)")
      ->group(group);
  app.add_option_function<std::string>(
         "--augment", [&options](const std::string& value) { options.augment = value == "on"; },
         "random crops and flips in training [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  app.add_option_function<std::string>(
         "--shuffle", [&options](const std::string& value) { options.shuffle = value == "on"; },
         "a new order of images each epoch [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  app.add_flag("--strict-data", options.strict_data, "stop at an unreadable image instead of skipping it")
      ->group(group);
  add_number(app, "--workers", options.workers, Range<int64_t>{0, 256},
             "threads that read images; 0 reads them between steps")
      ->default_str(fmt::format("{}", options.workers))
      ->group(group);
}

void add_model_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Model";
  app.add_option("--arch", options.arch, "which ResNet")
      ->check(CLI::IsMember({"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--init", options.init, "start from these weights (safetensors, torchvision's names)")
      ->type_name("FILE")
      ->group(group);
  app.add_option_function<std::string>(
         "--zero-init-residual",
         [&options](const std::string& value) { options.zero_init_residual = value == "on"; },
         "begin with every residual branch at zero [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  app.add_option_function<std::string>(
         "--dtype", [&options](const std::string& value) { options.dtype = parse_dtype(value); },
         "arithmetic of the whole run [f32]; f64 to check against a reference")
      ->check(CLI::IsMember({"f32", "f64"}))
      ->type_name("f32|f64")
      ->group(group);
}

void add_optimiser_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Optimisation";
  add_number(app, "--epochs", options.epochs, Range<int64_t>{1, 1000000},
             "passes over the training set (12 for digits, else 90)")
      ->group(group);
  add_number(app, "--max-steps", options.max_steps, Range<int64_t>{1, int64_t(1) << 40},
             "stop after this many optimiser steps")
      ->group(group);
  add_number(app, "--batch-size", options.batch_size, Range<int64_t>{1, 1 << 20},
             "images per step (32 for digits, else 64)")
      ->group(group);
  add_number(app, "--accumulate", options.accumulate, Range<int64_t>{1, 1 << 20},
             "batches whose gradients are averaged into one step")
      ->default_str(fmt::format("{}", options.accumulate))
      ->group(group);
  app.add_option("--optimizer", options.optimizer,
                 "sgd (with momentum) or adamw (adamw for digits, else sgd)")
      ->check(CLI::IsMember({"sgd", "adamw"}))
      ->group(group);
  add_number(app, "--lr", options.lr, Range<double>{0, kLargest, true},
             "peak learning rate (sgd: 0.1 * batch / 256, adamw: 0.001)")
      ->group(group);
  add_number(app, "--momentum", options.momentum, Range<double>{0, 1}, "of sgd")
      ->default_str(fmt::format("{}", options.momentum))
      ->group(group);
  add_number(app, "--weight-decay", options.weight_decay, Range<double>{0, kLargest},
             "of all parameters (sgd: 0.0001, adamw: 0.05)")
      ->group(group);
  app.add_option("--schedule", options.schedule,
                 "learning rate over the run: cosine to 0, step (/10 at 1/3, 2/3), constant")
      ->check(CLI::IsMember({"cosine", "step", "constant"}))
      ->capture_default_str()
      ->group(group);
  add_number(app, "--warmup-epochs", options.warmup_epochs, Range<double>{0, 1e6},
             "linear warm-up (1 for cosine and step, 0 for constant)")
      ->group(group);
  add_number(app, "--label-smoothing", options.label_smoothing, Range<double>{0, 1},
             "share of the target spread over all classes")
      ->default_str(fmt::format("{}", options.label_smoothing))
      ->group(group);
  add_number(app, "--ema", options.ema, Range<double>{0, 1},
             "decay of a moving average of the weights, used for validation; 0 for none")
      ->default_str(fmt::format("{}", options.ema))
      ->group(group);
  add_number(app, "--clip-grad", options.clip_grad, Range<double>{0, kLargest},
             "largest global norm of the gradient; 0 for none")
      ->default_str(fmt::format("{}", options.clip_grad))
      ->group(group);
}

void add_run_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Running";
  app.add_option_function<std::string>(
         "--device", [&options](const std::string& value) { options.device = Device(value); },
         "where to compute: cpu, cuda or cuda:INDEX [a GPU if there is a real one, else cpu]")
      ->check([](const std::string& value) {
        try {
          const Device device(value);
          empty({}, {.device = device});
          return std::string();
        } catch (const Error& error) {
          return std::string(error.what());
        }
      })
      ->type_name("DEVICE")
      ->group(group);
  app.add_flag(
         "--benchmark", options.benchmark,
         "time each op's algorithms once for each of its shapes and take the fastest; times are kept for\n"
         "later runs (see taper-algorithms --help)")
      ->group(group);
  add_number(app, "--benchmark-seconds", options.benchmark_seconds, Range<double>{0, kLargest, true},
             "how long --benchmark may measure in all; then the estimates decide [no limit]")
      ->group(group);
  app.add_flag("--deterministic", options.deterministic,
               "the same bits for every run, thread and worker count; the log leaves out what time decides")
      ->group(group);
  app.add_option_function<std::string>(
         "--tf32", [&options](const std::string& value) { options.tf32 = value == "on"; },
         "let NVIDIA's libraries round f32 operands to TF32, 10 bits of fraction; changes nothing on the\n"
         "CPU or in Taper's own kernels [on for convolutions, off for other products]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--seed", options.seed, Range<uint64_t>{0, std::numeric_limits<uint64_t>::max()},
             "of weights, order, augmentation")
      ->default_str(fmt::format("{}", options.seed))
      ->group(group);
  add_number(app, "--threads", options.threads, Range<int64_t>{1, 1024}, "threads that compute (all CPUs)")
      ->group(group);
  app.add_flag("--eval-only", options.eval_only, "score the --init weights on the validation set and stop")
      ->group(group);
  app.add_option("--log", options.log, "one JSON object per optimiser step")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option("--summary", options.summary, "results of the run as JSON")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option(
         "--profile", options.profile,
         "5 steps after the first 3 as a Chrome trace (JSON) for ui.perfetto.dev; fewer if the run is "
         "shorter")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option("--memory-report", options.memory_report,
                 "a page (HTML) on who held the GPU's memory when; needs --device cuda")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option_function<std::string>(
         "--progress",
         [&options](const std::string& value) {
           options.progress = value == "on"    ? ProgressMode::kOn
                              : value == "off" ? ProgressMode::kOff
                                               : ProgressMode::kAuto;
         },
         "live progress line; auto: when stderr is a terminal")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->default_str("auto")
      ->group(group);
}

/// What one flag alone cannot tell. Throws CLI::ValidationError naming the flag.
void check_together(const TrainOptions& options) {
  const auto need = [](bool condition, const char* flag, const std::string& message) {
    if (!condition) throw CLI::ValidationError(flag, message);
  };
  if (options.dataset == "imagefolder") {
    need(!options.data.empty() || options.eval_only, "--data",
         "imagefolder needs a folder of training images");
    need(!options.val.empty() || !options.eval_only, "--val",
         "--eval-only needs a folder of validation images");
  } else {
    need(options.data.empty(), "--data", "belongs to --dataset imagefolder");
    need(options.val.empty(), "--val", "belongs to --dataset imagefolder");
  }
  need(!options.eval_only || !options.init.empty(), "--eval-only", "needs weights: give --init FILE");
  need(!options.eval_only || options.dataset != "synthetic", "--eval-only",
       "synthetic images have no validation set");
  need(!options.benchmark || !options.deterministic, "--benchmark",
       "chooses by time, which differs from run to run; --deterministic rules that out");
  need(options.benchmark || options.benchmark_seconds == 0, "--benchmark-seconds", "belongs to --benchmark");
  need(options.ema < 1, "--ema", "must be below 1");
  need(options.profile.empty() || !options.eval_only, "--profile",
       "records training steps, and --eval-only has none");
  need(options.memory_report.empty() || options.device.is_cuda(), "--memory-report",
       "shows the memory of a GPU; it needs --device cuda");
}

/// The version of Taper, then a line for its GPU and one for each library and device under it.
std::string version_text() {
  std::string text = std::string("Taper ") + kVersion;
  text += gpu::is_simulated() ? "\nGPU: simulated" : "\nGPU: CUDA";
  for (const gpu::Library& library : gpu::libraries()) text += "\n" + library.name + ": " + library.version;
  for (int device = 0; !gpu::is_simulated() && device < gpu::device_count(); ++device) {
    const gpu::DeviceProperties& is = gpu::properties(device);
    text += fmt::format("\nDevice {}: {}, compute capability {}.{}, {} MiB", device, is.name,
                        is.compute_major, is.compute_minor, is.total_memory_bytes >> 20);
  }
  return text;
}

}  // namespace

std::optional<Exit> parse_options(int argc, char** argv, TrainOptions& options) {
  CLI::App app(kDescription, "resnet50_train");
  app.footer(kExamples);
  app.set_version_flag("--version", version_text, "what this build is made of");
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as other tools have it
  add_data_flags(app, options);
  add_model_flags(app, options);
  add_optimiser_flags(app, options);
  add_run_flags(app, options);
  try {
    refuse_flags_without_value(argc, argv);
    app.parse(argc, argv);
    check_together(options);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return Exit{app.exit(error)};
    print_error(describe_refusal(app, error) + " (see --help)");
    return Exit{2};
  }
  if (app.count("--device") == 0 && !gpu::is_simulated() && gpu::device_count() > 0) options.device = kCUDA;
  if (options.image_size == 0) options.image_size = options.dataset == "digits" ? 32 : 224;
  if (options.epochs == 0) options.epochs = options.dataset == "digits" ? 12 : 90;
  if (options.batch_size == 0) options.batch_size = options.dataset == "digits" ? 32 : 64;
  if (options.warmup_epochs < 0) options.warmup_epochs = options.schedule == "constant" ? 0 : 1;
  if (options.optimizer.empty()) options.optimizer = options.dataset == "digits" ? "adamw" : "sgd";
  if (!options.weight_decay) options.weight_decay = options.optimizer == "sgd" ? 1e-4 : 0.05;
  return std::nullopt;
}

}  // namespace taper
