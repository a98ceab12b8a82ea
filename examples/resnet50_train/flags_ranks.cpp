#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_rank_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Ranks (processes of mpirun, srun or torchrun)";
  add_number(app, "--batch-per-rank", options.batch_per_rank, Range<int64_t>{1, 1 << 20},
             "images per step on each rank, instead of --batch-size")
      ->group(group);
  add_number(app, "--timeout", options.timeout_seconds, Range<double>{0, 86400, true},
             "seconds after which a rank that does not come to what all do together ends the run")
      ->default_str(fmt::format("{:g}", options.timeout_seconds))
      ->group(group);
  app.add_option("--flight-record", options.flight_record,
                 "if a rank fails, each rank writes here what it last did together with others\n"
                 "[--checkpoint-dir]")
      ->check(check_file_name)
      ->type_name("DIR")
      ->group(group);
}

}  // namespace taper
