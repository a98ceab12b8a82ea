#include <CLI/CLI.hpp>
#include <set>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {
namespace {

constexpr const char* kGroup = "Checkpoints";
constexpr double kMostMinutes = 1e6;

/// "500" steps or "10m", minutes.
void parse_save_every(const std::string& text, TrainOptions& options) {
  options.save_steps = 0;
  options.save_minutes = 0;
  if (text.ends_with('m')) {
    options.save_minutes =
        parse_number("--save-every", text.substr(0, text.size() - 1), Range<double>{0, kMostMinutes, true});
  } else {
    if (text.find_first_not_of("0123456789") != std::string::npos)
      throw CLI::ValidationError("--save-every",
                                 fmt::format("'{}' is neither steps, 500, nor minutes, 10m", text));
    options.save_steps = parse_number("--save-every", text, Range<int64_t>{1, int64_t(1) << 40});
  }
}

}  // namespace

void add_checkpoint_flags(CLI::App& app, TrainOptions& options) {
  app.add_option("--checkpoint-dir", options.checkpoint_dir,
                 "save checkpoints here, each a folder; `last` and `best` lead to two of them. Saved beside\n"
                 "training, whole or not at all, also when Ctrl-C, SIGTERM or --max-minutes end the run")
      ->check(check_file_name)
      ->type_name("DIR")
      ->group(kGroup);
  app.add_option_function<std::string>(
         "--save-every", [&options](const std::string& text) { parse_save_every(text, options); },
         "save after so many steps (500) or minutes (10m), besides a new best score and the end [each epoch]")
      ->type_name("N|Nm")
      ->group(kGroup);
  add_number(app, "--keep", options.keep, Range<int64_t>{1, 1000000},
             "newest checkpoints to keep, besides the best")
      ->default_str(fmt::format("{}", options.keep))
      ->group(kGroup);
  app.add_option("--resume", options.resume,
                 "go on from a checkpoint; auto: from the newest in --checkpoint-dir, or from the start if\n"
                 "there is none. The same command can so be given again and again")
      ->check(check_file_name)
      ->type_name("auto|PATH")
      ->group(kGroup);
  add_number(app, "--max-minutes", options.max_minutes, Range<double>{0, kMostMinutes, true},
             "end the run after so long, with a checkpoint, as SIGTERM would")
      ->group(kGroup);
}

void check_checkpoint_flags(const CLI::App& app, const TrainOptions& options) {
  const bool has_dir = !options.checkpoint_dir.empty();
  for (const char* flag : {"--save-every", "--keep"})
    need(has_dir || app.count(flag) == 0, flag, "belongs to --checkpoint-dir");
  need(has_dir || options.resume != "auto", "--resume",
       "auto looks into --checkpoint-dir, which is not given");
  for (const char* flag : {"--checkpoint-dir", "--resume", "--max-minutes"})
    need(!options.eval_only || app.count(flag) == 0, flag,
         "belongs to training, and --eval-only does not train");
}

std::string value_given(const CLI::Option& option) {
  if (option.results().empty()) return "";
  const bool list = option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  return list ? fmt::format("{}", fmt::join(option.results(), ",")) : option.results().back();
}

std::map<std::string, std::string> deciding_flags(const CLI::App& app) {
  // Where the output goes and how long a run lasts decides nothing of what a step computes.
  static const std::set<std::string> kOutput = {
      "--log",      "--summary", "--profile", "--memory-report", "--tensorboard",  "--report",
      "--progress", "--timeout", "--help",    "--version",       "--flight-record"};
  std::map<std::string, std::string> deciding;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name();
    if (option->count() == 0 || kOutput.contains(name) || option->get_group() == kGroup) continue;
    deciding[name] = value_given(*option);
  }
  return deciding;
}

}  // namespace taper
