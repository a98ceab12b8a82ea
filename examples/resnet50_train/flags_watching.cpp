#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_watching_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Watching";
  app.add_option("--tensorboard", options.tensorboard,
                 "event files for TensorBoard: curves, histograms, sample images, confusion matrix, graph")
      ->check([](const std::string& name) { return name.empty() ? "needs the name of a folder" : ""; })
      ->type_name("DIR")
      ->group(group);
  app.add_option("--report", options.report,
                 "the run as a page (HTML): curves, confusion matrix, worst mistakes; rewritten each epoch")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  add_number(app, "--early-stop", options.early_stop, Range<int64_t>{1, 1000000},
             "end after so many epochs in a row without a better top1 on the validation set")
      ->group(group);
}

void check_watching_flags(const TrainOptions& options) {
  const char* const training = "shows a training, and --eval-only has none";
  need(options.tensorboard.empty() || !options.eval_only, "--tensorboard", training);
  need(options.report.empty() || !options.eval_only, "--report", training);
  need(options.early_stop == 0 || !options.eval_only, "--early-stop",
       "ends a training, and --eval-only has none");
  const bool has_validation = options.dataset == "digits" || !options.val.empty();
  need(options.early_stop == 0 || has_validation, "--early-stop",
       "looks at the score on a validation set; give one with --val DIR");
}

}  // namespace taper
