#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_rank_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Ranks (processes that mpirun, srun, torchrun or its variables start)";
  add_number(app, "--batch-per-rank", options.batch_per_rank, Range<int64_t>{1, 1 << 20},
             "images per step on each rank, instead of --batch-size")
      ->group(group);
  add_number(app, "--timeout", options.timeout_seconds, Range<double>{0, 86400, true},
             "seconds that ranks wait for one that does not come to the start, or to what all do together;\n"
             "a few more pass until all have heard of it")
      ->default_str(fmt::format("{:g}", options.timeout_seconds))
      ->group(group);
  app.add_option_function<std::string>(
         "--compress-gradients",
         [&options](const std::string& value) {
           options.wire_dtype.reset();
           if (value != "off") options.wire_dtype = value == "bf16" ? kBFloat16 : kFloat16;
         },
         "round gradients for their way between ranks, to half the bytes of f32; fp16 holds numbers below\n"
         "65520 only [off]")
      ->check(CLI::IsMember({"off", "bf16", "fp16"}))
      ->type_name("off|bf16|fp16")
      ->group(group);
  app.add_flag(
         "--shard-optimizer", options.shard_optimizer,
         "each rank keeps its share of momentum and the like, and updates its share of the weights (ZeRO\n"
         "stage 1, arxiv.org/abs/1910.02054); checkpoints are as without. For sgd, adam and adamw")
      ->group(group);
  app.add_option("--flight-record", options.flight_record,
                 "when a rank fails, every other rank writes its last collectives here, with their times\n"
                 "[--checkpoint-dir]")
      ->check(check_file_name)
      ->type_name("DIR")
      ->group(group);
}

void check_rank_flags(const TrainOptions& options) {
  need(!options.shard_optimizer || (options.optimizer != "lars" && options.optimizer != "lamb"),
       "--shard-optimizer",
       fmt::format("is for sgd, adam and adamw: {} needs norms of whole layers", options.optimizer));
}

}  // namespace taper
