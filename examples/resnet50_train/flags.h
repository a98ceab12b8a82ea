#pragma once
// The flags of resnet50_train, a file for each group in --help: add_*() declares them, check_*() refuses what one
// flag alone cannot tell, after all are parsed.

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "options.h"

namespace taper {

constexpr double kLargestFlag = 1e38;  ///< about what f32 can hold

/// Throws CLI::ValidationError naming `flag` unless `condition` holds.
inline void need(bool condition, const char* flag, const std::string& message) {
  if (!condition) throw CLI::ValidationError(flag, message);
}

void add_data_flags(CLI::App& app, TrainOptions& options);
void check_data_flags(const TrainOptions& options);

void add_model_flags(CLI::App& app, TrainOptions& options);
void check_model_flags(const TrainOptions& options);

void add_optimisation_flags(CLI::App& app, TrainOptions& options);
void check_optimisation_flags(const TrainOptions& options);

void add_schedule_flags(CLI::App& app, TrainOptions& options);
void check_schedule_flags(const TrainOptions& options);

void add_checkpoint_flags(CLI::App& app, TrainOptions& options);
void check_checkpoint_flags(const CLI::App& app, const TrainOptions& options);
/// Returns the value of a flag that was given: the last one, or all of a list, with commas.
std::string value_given(const CLI::Option& option);
/// Returns the flags that were given and decide what is computed, with their values.
std::map<std::string, std::string> deciding_flags(const CLI::App& app);

void add_watching_flags(CLI::App& app, TrainOptions& options);
void check_watching_flags(const TrainOptions& options);

void add_rank_flags(CLI::App& app, TrainOptions& options);
void check_rank_flags(const TrainOptions& options);

void add_running_flags(CLI::App& app, TrainOptions& options);
void check_running_flags(const TrainOptions& options);
/// Returns the flags that were given and change nothing but training.
std::vector<std::string> flags_of_training(const CLI::App& app);

}  // namespace taper
