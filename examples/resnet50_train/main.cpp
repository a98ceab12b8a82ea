// resnet50_train: the product's face. Reads the command line (options), builds data and model, trains
// (training), and turns every failure into a line on standard error and an exit code.

#include <csignal>
#include <new>

#include "options.h"
#include "taper/core/files/program.h"
#include "training.h"

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

int run(const taper::TrainOptions& options) {
  taper::Training training(options);
  catch_interrupts();
  const taper::Outcome& outcome = training.run([] { return interrupted != 0; });
  for (const std::string& error : outcome.errors) taper::print_error(error);
  if (!outcome.errors.empty()) return 1;
  return outcome.ending == taper::Ending::kInterrupted ? 130 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  taper::start_program("resnet50_train");
  std::signal(SIGPIPE, SIG_IGN);  // training goes on when nobody reads its output any more
  taper::TrainOptions options;
  if (const auto exit = taper::parse_options(argc, argv, options)) return exit->code;
  try {
    return run(options);
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
