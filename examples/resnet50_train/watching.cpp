#include "watching.h"

#include <algorithm>

#include "taper/core/base/cpu_level.h"
#include "taper/core/gpu/libraries.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/train/run_page.h"
#include "taper/nn/train/tensorboard_log.h"
#include "taper/version.h"

namespace taper {
namespace {

/// Flags that only say where to write.
constexpr std::string_view kOutputs[] = {"log",         "summary", "profile", "memory-report",
                                         "tensorboard", "report",  "progress"};

}  // namespace

std::vector<std::pair<std::string, std::string>> versions() {
  std::vector<std::pair<std::string, std::string>> all = {
      {"Taper", kVersion}, {"GPU", gpu::is_simulated() ? "simulated" : "CUDA"}};
  for (const gpu::Library& library : gpu::libraries()) all.emplace_back(library.name, library.version);
  for (int device = 0; !gpu::is_simulated() && device < gpu::device_count(); ++device) {
    const gpu::DeviceProperties& is = gpu::properties(device);
    all.emplace_back(fmt::format("Device {}", device),
                     fmt::format("{}, compute capability {}.{}, {} MiB", is.name, is.compute_major,
                                 is.compute_minor, is.total_memory_bytes >> 20));
  }
  all.emplace_back("CPU", std::string(name(cpu_level())));
  return all;
}

NamedSettings settings_of(const TrainOptions& options, const Setup& setup) {
  NamedSettings all = {{"dataset", options.dataset},
                       {"arch", options.arch},
                       {"image-size", double(options.image_size)},
                       {"epochs", double(options.epochs)},
                       {"batch-size", double(options.batch_size)},
                       {"accumulate", double(options.accumulate)},
                       {"optimizer", options.optimizer},
                       {"lr", setup.lr},
                       {"weight-decay", *options.weight_decay},
                       {"schedule", options.schedule},
                       {"warmup-epochs", options.warmup_epochs},
                       {"label-smoothing", options.label_smoothing},
                       {"ema", options.ema},
                       {"clip-grad", options.clip_grad},
                       {"amp", options.amp_name()},
                       {"device", options.device.str()},
                       {"seed", double(options.seed)}};
  if (options.momentum) all.emplace_back("momentum", *options.momentum);
  for (const auto& [flag, value] : options.given) {
    const bool is_known =
        std::ranges::any_of(all, [&name = flag](const auto& one) { return one.first == name; });
    if (!is_known && std::ranges::find(kOutputs, flag) == std::end(kOutputs)) all.emplace_back(flag, value);
  }
  return all;
}

std::shared_ptr<RunPage> make_page(const TrainOptions& options, const Setup& setup) {
  if (options.report.empty()) return nullptr;
  const std::string name = options.dataset == "imagefolder" ? options.data : options.dataset;
  return std::make_shared<RunPage>(options.report, *setup.history,
                                   RunPageOptions{.title = options.arch + " on " + name,
                                                  .settings = settings_of(options, setup),
                                                  .versions = versions(),
                                                  .plan = setup.plan,
                                                  .validation = setup.data.validation.get(),
                                                  .predictions = setup.predictions.get()});
}

std::shared_ptr<TrainSink> make_tensorboard(const TrainOptions& options, const Setup& setup) {
  if (options.tensorboard.empty()) return nullptr;
  return std::make_shared<TensorBoardLog>(options.tensorboard,
                                          TensorBoardLogOptions{.settings = settings_of(options, setup),
                                                                .model = setup.model.get(),
                                                                .validation = setup.data.validation.get(),
                                                                .predictions = setup.predictions.get()});
}

}  // namespace taper
