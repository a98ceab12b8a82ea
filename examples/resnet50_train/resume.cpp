#include "resume.h"

#include <filesystem>
#include <set>

#include "model.h"
#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/nn/data/transforms.h"

namespace taper {
namespace {

/// "--lr 0.1 (was 0.05)", or "" if the flag is as it was.
std::string describe_change(const std::string& flag, const std::map<std::string, std::string>& before,
                            const std::map<std::string, std::string>& now) {
  const auto value = [&](const std::map<std::string, std::string>& flags) {
    const auto found = flags.find(flag);
    return found == flags.end() ? std::string() : printable(found->second);
  };
  const bool was = before.contains(flag), is = now.contains(flag);
  if (was && is && before.at(flag) == now.at(flag)) return "";
  return flag + (is ? " " + value(now) : std::string(" left out")) +
         (was ? fmt::format(" (was {})", value(before)) : std::string(" (was not given)"));
}

/// As find_checkpoint(), with the flag's name before the message.
std::optional<FoundCheckpoint> find_for(const char* flag, const std::string& path) {
  try {
    return find_checkpoint(path);
  } catch (const FileError& error) {
    fail("{}: {}", flag, error.what());
  }
}

bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code unknown;
  const std::filesystem::path parent = std::filesystem::canonical(path, unknown).parent_path();
  return std::filesystem::equivalent(parent, folder, unknown);
}

}  // namespace

ModelDescription describe_model(const TrainOptions& options, const Data& data) {
  const DataLoader& loader = data.train ? *data.train : *data.validation;
  std::vector<std::string> names = loader.dataset().class_names();
  while (int64_t(names.size()) < data.num_classes) names.push_back(fmt::format("class {}", names.size()));
  return {.arch = options.arch,
          .image_size = options.image_size,
          .resize = evaluation_geometry(options).resize,
          .class_names = names};
}

/// The frozen parts by name, in one order whatever the command line's; "none".
static std::string frozen_parts(const TrainOptions& options) {
  const std::set<std::string> names(options.freeze.begin(), options.freeze.end());
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ","));
}

std::map<std::string, std::string> must_match(const TrainOptions& options, const Data& data,
                                              const TrainPlan& plan) {
  return {{"--arch", options.arch},
          {"--optimizer", options.optimizer},
          {"the frozen parts (--freeze)", frozen_parts(options)},
          {"the network's classes", std::to_string(data.num_classes)},
          {"images to learn from", std::to_string(data.train->dataset().size())},
          {"images in a step (--batch-size times --accumulate)", std::to_string(plan.images_per_step)}};
}

std::optional<FoundCheckpoint> find_start(const TrainOptions& options) {
  const bool automatic = options.resume == "auto";
  std::optional<FoundCheckpoint> found;
  if (!options.resume.empty()) {
    found = find_for("--resume", automatic ? options.checkpoint_dir : options.resume);
    TAPER_CHECK(found || automatic, "--resume {}: there is no checkpoint", options.resume);
  }
  if (automatic || options.checkpoint_dir.empty()) return found;
  const std::optional<FoundCheckpoint> earlier = find_for("--checkpoint-dir", options.checkpoint_dir);
  TAPER_CHECK(
      !earlier || (found && lies_in(found->path, options.checkpoint_dir)),
      "--checkpoint-dir {}: an earlier run's checkpoints are there, the newest {}; go on from it with "
      "--resume auto, or name another folder",
      options.checkpoint_dir, earlier->path);
  return found;
}

void check_fits(const FoundCheckpoint& start, const std::map<std::string, std::string>& needed,
                const ModelDescription& description) {
  for (const auto& [what, value] : needed) {
    const auto saved = start.checkpoint.must_match.find(what);
    TAPER_CHECK(saved != start.checkpoint.must_match.end() && saved->second == value,
                "--resume {}: cannot go on with {} {}: the checkpoint is of a run with {}", start.path, what,
                value, saved == start.checkpoint.must_match.end() ? "something else" : saved->second);
  }
  const std::optional<ModelDescription> saved = model_description(start.checkpoint.description);
  if (!saved) return;
  const auto difference = difference_of_classes(saved->class_names, description.class_names);
  TAPER_CHECK(!difference, "--resume {}: {}; was a folder renamed?", start.path, *difference);
}

TrainProgress progress_of(const FoundCheckpoint& start) {
  TrainProgress progress;
  progress.load_state_dict(start.checkpoint.part("progress"));
  return progress;
}

std::vector<std::string> describe_start(const FoundCheckpoint& start, const TrainOptions& options,
                                        const TrainPlan& plan, const CheckpointFolder* folder) {
  std::vector<std::string> lines = start.damaged;
  const TrainProgress progress = progress_of(start);
  lines.push_back(
      fmt::format("going on from {}, step {} of {}", printable(start.path), progress.step, plan.total_steps));
  const std::vector<std::string> others = folder ? folder->list() : std::vector<std::string>();
  std::error_code unknown;
  if (options.resume != "auto" && !others.empty() &&
      !std::filesystem::equivalent(start.path, others.back(), unknown))
    lines.push_back(fmt::format("the checkpoints after it, up to {}, go as new ones are saved (--keep)",
                                printable(others.back())));
  std::set<std::string> flags;
  for (const auto* given : {&start.checkpoint.options, &options.deciding})
    for (const auto& [flag, value] : *given) flags.insert(flag);
  std::string changes;
  for (const std::string& flag : flags) {
    const std::string change = describe_change(flag, start.checkpoint.options, options.deciding);
    if (!change.empty()) changes += (changes.empty() ? "" : ", ") + change;
  }
  if (!changes.empty()) lines.push_back("with other options than before: " + changes);
  if (progress.step >= plan.total_steps && !progress.to_evaluate)
    lines.emplace_back("nothing is left to do; raise --epochs or --max-steps to train on");
  return lines;
}

}  // namespace taper
