// resnet50_train: the product's face. Reads the command line (options), makes data and model of it (setup),  // spine 68 (docs/0-the-spine.md)
// trains with the library's loop, tells what came of it (report), and turns every failure into a line on
// standard error and an exit code.

#include <chrono>
#include <csignal>

#include "examples/command_line.h"
#include "model.h"
#include "options.h"
#include "ranks.h"
#include "report.h"
#include "setup.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/nn/report/memory_report.h"
#include "taper/nn/train/console.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/run_summary.h"
#include "training.h"

namespace taper {
namespace {

volatile std::sig_atomic_t interrupted = 0;
const std::chrono::steady_clock::time_point program_start = std::chrono::steady_clock::now();

/// The first signal ends the run after the current step, the second at once.
void on_interrupt(int signal) {
  if (interrupted != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  interrupted = 1;
}

/// From now on there is something to keep: Ctrl-C, kill, a closed terminal and a scheduler's warning end the run
/// with its summary and a checkpoint. A signal that the caller has this program ignore, as nohup does, stays ignored.
void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    if (std::signal(signal, on_interrupt) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

void evaluate_only(const TrainOptions& options, const Setup& setup, TrainingRun& run, ProcessGroup* group) {
  if (group) run.agree(false);
  setup.model->to(options.device);
  print_header(options, setup);
  BatchSplitter splitter(tell_of_splits(run));
  const auto score = evaluate(*setup.model, *setup.data.validation,
                              {.run = &run,
                               .autocast = options.amp,
                               .splitter = options.split_batches ? &splitter : nullptr,
                               .group = group});
  if (score) check_finite(score->loss, "validation loss", "");
  run.outcome().score = score;
}

/// What a user may do about a loss that is NaN.
std::string advice(const TrainOptions& options, const Setup& setup) {
  if (!setup.not_finite.empty())
    return fmt::format(": in {}, {} holds NaN or infinity", options.weights_flag(), setup.not_finite);
  return options.eval_only ? "" : "; try a smaller --lr or --clip-grad 1";
}

/// Whether the program has run for so long; 0: never.
bool is_over(double minutes) {
  constexpr double kSecondsPerMinute = 60;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - program_start).count();
  return minutes > 0 && seconds >= minutes * kSecondsPerMinute;
}

int exit_code(const Outcome& outcome) {
  constexpr int kFailed = 1, kTemporaryFailure = 75 /* EX_TEMPFAIL of sysexits.h */, kInterrupted = 130;
  const bool interrupted_run = outcome.ending == Ending::kInterrupted;
  if (interrupted_run && is_saved(outcome)) return kTemporaryFailure;
  if (!outcome.errors.empty()) return kFailed;
  return interrupted_run ? kInterrupted : 0;
}

/// Whether all ranks have come to the end together. If not, others may be waiting for this one.
bool ended_together(const Outcome& outcome) {
  return outcome.ending == Ending::kFinished || outcome.ending == Ending::kStoppedEarly ||
         outcome.ending == Ending::kInterrupted;
}

int run(const TrainOptions& given, ProcessGroup* group) {
  const TrainOptions options = as_bad_input([&] { return as_weights_say(given); });
  Setup setup(options);
  catch_interrupts();
  TrainingRun run([&] { return interrupted != 0 || is_over(options.max_minutes); });
  run.add(std::make_shared<Console>(options.progress, setup.plan));
  if (setup.log) run.add(setup.log);
  run.add(std::make_shared<Report>(options, setup, group));
  if (setup.profile) run.add(setup.profile);
  if (setup.history) run.add(setup.history);
  if (setup.page) run.add(setup.page);
  if (setup.tensorboard) run.add(setup.tensorboard);
  if (!options.memory_report.empty()) run.add(std::make_shared<MemoryReport>(options.memory_report));
  if (!options.summary.empty())
    run.add(std::make_shared<RunSummary>(
        options.summary, RunDescription{.arch = options.arch,
                                        .dataset = options.dataset,
                                        .parameters = setup.model->parameter_count(),
                                        .device = options.device,
                                        .dtype = options.dtype,
                                        .amp = options.amp_name(),
                                        .group = group,
                                        .unreadable_images = [&] { return setup.data.unreadable(); }}));
  const Outcome& outcome = run.execute([&] {
    if (!options.memory_report.empty()) record_memory_history();
    try {
      if (options.eval_only)
        evaluate_only(options, setup, run, group);
      else
        Training(options, setup, run, group).train();
    } catch (const NotFiniteError& error) {
      throw NotFiniteError(error.what() + advice(options, setup));
    }
  });
  if (!outcome.errors.empty()) let_rank_0_speak(options);
  for (const std::string& error : outcome.errors) print_error(error);
  const int code = exit_code(outcome);
  if (group == nullptr) return code;
  if (!ended_together(outcome)) group->abort(code);
  return code_of_rank_0(*group, code);
}

/// Runs with the other processes that a launcher has started, if there are any.
int run_in_ranks(TrainOptions options) {
  std::unique_ptr<ProcessGroup> group;
  bool ended = false;
  const int code = run_program([&] {
    if (options.place.size > 1) {
      group = make_process_group(options.place, CollectiveTimeout(options.timeout_seconds));
    }
    try {
      if (group) settle(*group, options);
      const int result = run(options, group.get());
      ended = true;
      return result;
    } catch (...) {
      let_rank_0_speak(options);
      throw;
    }
  });
  if (group && !ended) group->abort(code);
  return code;
}

}  // namespace
}  // namespace taper

int main(int argc, char** argv) {
  taper::start_program(taper::name_of_process());
  try {
    taper::rank_place();
  } catch (const taper::Error& error) {  // the launcher's variables make no sense
    taper::print_error(error.what());
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);  // training goes on when nobody reads its output any more
  taper::TrainOptions options;
  if (const auto exit = taper::parse_as_rank(argc, argv, options)) return exit->code;
  return taper::run_in_ranks(std::move(options));
}
