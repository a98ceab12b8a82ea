#include "taper/nn/train/run_summary.h"

#include <nlohmann/json.hpp>

#include "taper/core/files/atomic_file.h"
#include "taper/core/storage.h"
#include "taper/version.h"

namespace taper {

void RunSummary::on_run_end(const Outcome& outcome) {
  constexpr size_t kMostNamed = 100;
  nlohmann::ordered_json summary;
  summary["arch"] = description_.arch;
  summary["dataset"] = description_.dataset;
  summary["ended"] = name_of(outcome.ending);
  summary["errors"] = outcome.errors;
  summary["top1"] = nullptr;
  summary["top5"] = nullptr;
  if (outcome.score) {
    summary["top1"] = outcome.score->top1;
    summary["top5"] = outcome.score->top5;
  }
  summary["final_loss"] = nullptr;  // as is a loss that is NaN
  summary["images_per_second"] = nullptr;
  if (outcome.loss) {
    summary["final_loss"] = *outcome.loss;
    summary["images_per_second"] = outcome.images_per_second();
  } else if (outcome.score) {
    summary["final_loss"] = outcome.score->loss;
  }
  summary["steps"] = outcome.steps;
  summary["skipped_updates"] = nullptr;
  if (outcome.skipped_updates) summary["skipped_updates"] = *outcome.skipped_updates;
  summary["checkpoint"] = nullptr;
  if (!outcome.checkpoints.last_path.empty()) summary["checkpoint"] = outcome.checkpoints.last_path;
  summary["checkpoints_failed"] = outcome.checkpoints.failed;
  summary["checkpoint_wait_seconds"] = outcome.checkpoints.waited_seconds;
  summary["interrupted"] = outcome.ending == Ending::kInterrupted;
  std::vector<std::string> unreadable;
  if (description_.unreadable_images) unreadable = description_.unreadable_images();
  summary["unreadable_pictures"] = unreadable.size();
  unreadable.resize(std::min(unreadable.size(), kMostNamed));
  summary["unreadable_first"] = unreadable;
  summary["seconds"] = outcome.seconds;
  summary["parameters"] = description_.parameters;
  summary["device"] = description_.device.str();
  summary["dtype"] = name(description_.dtype);
  summary["amp"] = description_.amp;
  summary["peak_memory_bytes"] = allocator_for(description_.device).stats().peak_allocated_bytes;
  summary["optimizer_bytes"] = nullptr;
  if (outcome.optimizer_bytes) summary["optimizer_bytes"] = *outcome.optimizer_bytes;
  summary["replayed_steps"] = nullptr;
  if (outcome.capture) summary["replayed_steps"] = outcome.capture->replays;
  summary["ranks"] = description_.group ? description_.group->size() : 1;
  if (description_.group) {
    const CollectiveStatistics told = description_.group->statistics();
    summary["images_per_second_and_rank"] = outcome.images_per_second() / description_.group->size();
    summary["collectives"] = told.calls;
    summary["collective_bytes"] = told.bytes;
    summary["collective_seconds"] = told.seconds;
    summary["collective_waited_seconds"] = told.waited_seconds;
  }
  summary["version"] = kVersion;
  // Names of files, in errors, may hold any bytes.
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  write_file_atomically(path_, summary.dump(2, ' ', false, replace) + "\n");
}

}  // namespace taper
