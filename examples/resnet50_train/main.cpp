// resnet50_train: the product's face. Reads the command line (options), builds data and model (setup), trains
// (training), and turns every failure into one line and an exit code.

#include <csignal>
#include <cstdio>

#include "options.h"
#include "taper/core/error.h"
#include "taper/core/printable.h"
#include "training.h"

namespace {

volatile std::sig_atomic_t interrupted = 0;

/// The first Ctrl-C ends the run after the current step, the second at once.
void on_interrupt(int) {
  interrupted = 1;
  std::signal(SIGINT, SIG_DFL);
}

}  // namespace

int main(int argc, char** argv) {
  taper::TrainOptions options;
  if (const auto exit = taper::parse_options(argc, argv, options)) return exit->code;
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  try {
    taper::Training training(options);
    training.run([] { return interrupted != 0; });
    return interrupted != 0 ? 130 : 0;
  } catch (const taper::BadInput& error) {
    std::fprintf(stderr, "resnet50_train: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "resnet50_train: %s\n", taper::printable(error.what()).c_str());
    return 1;
  }
}
