#include <CLI/CLI.hpp>
#include <algorithm>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {
namespace {

constexpr Range<int64_t> kEpochs = {1, 1000000};

/// Returns the numbers of "30,60,80".
std::vector<int64_t> parse_milestones(const std::string& text) {
  std::vector<int64_t> milestones;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    milestones.push_back(parse_number("--milestones", text.substr(begin, end - begin), kEpochs));
    begin = end + 1;
  }
  if (!std::ranges::is_sorted(milestones, std::ranges::less_equal()))
    throw CLI::ValidationError("--milestones", fmt::format("'{}' does not rise", text));
  return milestones;
}

}  // namespace

void add_schedule_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Schedule";
  app.add_option("--schedule", options.schedule,
                 "learning rate over the run: cosine or polynomial to --min-lr, step (lower at each of\n"
                 "--milestones), exponential, plateau (lower when the validation loss stops falling, or\n"
                 "without a validation set the training loss), constant")
      ->check(CLI::IsMember({"cosine", "step", "exponential", "polynomial", "plateau", "constant"}))
      ->capture_default_str()
      ->group(group);
  add_number(app, "--warmup-epochs", options.warmup_epochs, Range<double>{0, 1e6},
             "linear warm-up (0 for constant, else 1)")
      ->group(group);
  app.add_option_function<std::string>(
         "--milestones", [&options](const std::string& text) { options.milestones = parse_milestones(text); },
         "of step: after how many epochs of the run it lowers the learning rate (1/3 and 2/3 of the run)")
      ->type_name("E,E,...")
      ->group(group);
  add_number(
      app, "--lr-gamma", options.lr_gamma, Range<double>{0, 1, true},
      "factor on the learning rate: at a milestone of step (0.1), for each epoch of exponential (so that\n"
      "it ends at 0.01 of the peak), at a plateau (0.1)")
      ->group(group);
  add_number(app, "--lr-power", options.lr_power, Range<double>{0, 100, true},
             "of polynomial: the learning rate falls as (share of the run that is left)^X (1)")
      ->group(group);
  add_number(app, "--min-lr", options.min_lr, Range<double>{0, kLargestFlag},
             "least learning rate of cosine, polynomial and plateau (0)")
      ->group(group);
  add_number(app, "--patience", options.patience, Range<int64_t>{0, 1000000},
             "of plateau: epochs without a lower loss that are borne (5)")
      ->group(group);
}

void check_schedule_flags(const TrainOptions& options) {
  const std::string& schedule = options.schedule;
  const auto belongs = [&](bool given, const char* flag, std::initializer_list<const char*> to) {
    need(!given || std::ranges::find(to, schedule) != to.end(), flag,
         fmt::format("is for --schedule {}, not {}", fmt::join(to, ", "), schedule));
  };
  belongs(!options.milestones.empty(), "--milestones", {"step"});
  belongs(options.lr_gamma.has_value(), "--lr-gamma", {"step", "exponential", "plateau"});
  belongs(options.lr_power.has_value(), "--lr-power", {"polynomial"});
  belongs(options.min_lr.has_value(), "--min-lr", {"cosine", "polynomial", "plateau"});
  belongs(options.patience.has_value(), "--patience", {"plateau"});
  need(schedule != "plateau" || options.lr_gamma != 1.0, "--lr-gamma",
       "must be below 1 for --schedule plateau");
  if (options.milestones.empty()) return;
  need(double(options.milestones.front()) > options.warmup_epochs, "--milestones",
       fmt::format("{} lies in the warm-up of {:g} epochs; lower --warmup-epochs", options.milestones.front(),
                   options.warmup_epochs));
  need(options.milestones.back() < options.epochs, "--milestones",
       fmt::format("{} is not within the run of {} epochs", options.milestones.back(), options.epochs));
}

}  // namespace taper
