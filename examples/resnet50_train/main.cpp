// resnet50_train: the product's face. Reads the command line (options), makes data and model of it (setup),  // spine 68 (docs/0-the-spine.md)
// trains with the library's loop, tells what came of it (report), and turns every failure into a line on
// standard error and an exit code.

#include <csignal>
#include <new>

#include "options.h"
#include "report.h"
#include "setup.h"
#include "taper/core/files/program.h"
#include "taper/nn/report/memory_report.h"
#include "taper/nn/train/console.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/run_summary.h"

namespace taper {
namespace {

volatile std::sig_atomic_t interrupted = 0;

/// The first signal ends the run after the current step, the second at once.
void on_interrupt(int signal) {
  if (interrupted != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  interrupted = 1;
}

/// From now on there is something to keep: Ctrl-C, kill and a closed terminal end the run with its summary. A
/// signal that the caller has this program ignore, as nohup does, stays ignored.
void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(signal, on_interrupt) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

void evaluate_only(const TrainOptions& options, const Setup& setup, TrainingRun& run) {
  setup.model->to(options.device);
  print_header(options, setup);
  const auto score = evaluate(*setup.model, *setup.data.validation, {.run = &run});
  if (score) check_finite(score->loss, "validation loss", "");
  run.outcome().score = score;
}

void train(const TrainOptions& options, const Setup& setup, TrainingRun& run) {
  ResNet& model = *setup.model;
  model.to(options.device);
  const auto optimizer = make_optimizer(options, model, setup.lr);
  const auto ema = make_ema(options, model);
  const auto schedule = make_schedule(options, *optimizer, setup.plan);
  print_header(options, setup);
  TrainLoop loop = {
      .plan = setup.plan,
      .model = model,
      .batches = *setup.data.train,
      .step = TrainStep(classification_loss(model, options.label_smoothing), *optimizer,
                        {.clip_grad = options.clip_grad, .ema = ema.get(), .schedule = schedule.get()})};
  if (setup.data.validation)
    loop.evaluate = [&] { return evaluate(model, *setup.data.validation, {.ema = ema.get(), .run = &run}); };
  loop.train(run);
}

/// What a user may do about a loss that is NaN.
std::string advice(const TrainOptions& options, const Setup& setup) {
  if (!setup.not_finite.empty())
    return fmt::format(": in --init {}, {} holds NaN or infinity", options.init, setup.not_finite);
  return options.eval_only ? "" : "; try a smaller --lr or --clip-grad 1";
}

int run(const TrainOptions& options) {
  const Setup setup(options);
  catch_interrupts();
  TrainingRun run([] { return interrupted != 0; });
  run.add(std::make_shared<Console>(options.progress, setup.plan));
  if (setup.log) run.add(setup.log);
  run.add(std::make_shared<Report>(options, setup));
  if (setup.profile) run.add(setup.profile);
  if (!options.memory_report.empty()) run.add(std::make_shared<MemoryReport>(options.memory_report));
  if (!options.summary.empty())
    run.add(std::make_shared<RunSummary>(
        options.summary, RunDescription{.arch = options.arch,
                                        .dataset = options.dataset,
                                        .parameters = setup.model->parameter_count(),
                                        .device = options.device,
                                        .dtype = options.dtype,
                                        .unreadable_images = [&] { return setup.data.unreadable(); }}));
  const Outcome& outcome = run.execute([&] {
    if (!options.memory_report.empty()) record_memory_history();
    try {
      options.eval_only ? evaluate_only(options, setup, run) : train(options, setup, run);
    } catch (const NotFiniteError& error) {
      throw NotFiniteError(error.what() + advice(options, setup));
    }
  });
  for (const std::string& error : outcome.errors) print_error(error);
  if (!outcome.errors.empty()) return 1;
  return outcome.ending == Ending::kInterrupted ? 130 : 0;
}

}  // namespace
}  // namespace taper

int main(int argc, char** argv) {
  taper::start_program("resnet50_train");
  std::signal(SIGPIPE, SIG_IGN);  // training goes on when nobody reads its output any more
  taper::TrainOptions options;
  if (const auto exit = taper::parse_options(argc, argv, options)) return exit->code;
  try {
    return taper::run(options);
  } catch (const taper::BadInput& error) {
    taper::print_error(error.what());
    return 2;
  } catch (const std::bad_alloc&) {
    taper::print_error("out of memory: the system has no more to give");
    return 1;
  } catch (const std::exception& error) {
    taper::print_error(error.what());
    return 1;
  }
}
