#include <CLI/CLI.hpp>
#include <limits>
#include <set>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_running_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Running";
  app.add_option_function<std::string>(
         "--device", [&options](const std::string& value) { options.device = Device(value); },
         "where to compute: cpu, cuda or cuda:INDEX [a GPU if there is a real one, else cpu]")
      ->check(check_device)
      ->type_name("DEVICE")
      ->group(group);
  app.add_flag(
         "--benchmark", options.benchmark,
         "time each op's algorithms once for each of its shapes and take the fastest; times are kept for\n"
         "later runs (see taper-algorithms --help)")
      ->group(group);
  add_number(app, "--benchmark-seconds", options.benchmark_seconds, Range<double>{0, kLargestFlag, true},
             "how long --benchmark may measure in all; then the estimates decide [no limit]")
      ->group(group);
  app.add_flag("--cuda-graph", options.cuda_graph,
               "after two steps replay the GPU's work of a step as one graph: the host then enqueues one "
               "thing instead\n"
               "of some thousand. The bits stay the same; memory for a second copy of a step's tensors is "
               "needed. A step\n"
               "that cannot be captured runs as it is, and the end of the run says why")
      ->group(group);
  app.add_flag("--deterministic", options.deterministic,
               "the same bits for every run, thread and worker count; the log leaves out what time decides")
      ->group(group);
  app.add_option_function<std::string>(
         "--oom", [&options](const std::string& value) { options.split_batches = value == "split"; },
         "when a batch does not fit in memory: off ends the run; split computes it in halves, or halves of\n"
         "these, down to single images, and adds their gradients up; so do the steps that follow. Batch "
         "norm\n"
         "then sees the halves, as with a smaller --batch-size and --accumulate [off]")
      ->check(CLI::IsMember({"off", "split"}))
      ->type_name("off|split")
      ->group(group);
  app.add_option_function<std::string>(
         "--tf32", [&options](const std::string& value) { options.tf32 = value == "on"; },
         "let NVIDIA's libraries round f32 operands to TF32, 10 bits of fraction; changes nothing on the\n"
         "CPU or in Taper's own kernels [on for convolutions, off for other products]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--seed", options.seed, Range<uint64_t>{0, std::numeric_limits<uint64_t>::max()},
             "of weights, order, augmentation")
      ->default_str(fmt::format("{}", options.seed))
      ->group(group);
  add_number(app, "--threads", options.threads, Range<int64_t>{1, 1024}, "threads that compute (all CPUs)")
      ->group(group);
  app.add_flag("--eval-only", options.eval_only,
               "score the --init weights on the validation set and stop. Which network they are of, their "
               "file tells;\n"
               "and the images' size, if Taper wrote it")
      ->group(group);
  app.add_option("--log", options.log, "one JSON object per optimiser step")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option("--summary", options.summary, "results of the run as JSON")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option(
         "--profile", options.profile,
         "5 steps after the first 3 as a Chrome trace (JSON) for ui.perfetto.dev; fewer if the run is "
         "shorter")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  app.add_option("--memory-report", options.memory_report,
                 "a page (HTML) on who held the GPU's memory when; needs --device cuda")
      ->check(check_file_name)
      ->type_name("FILE")
      ->group(group);
  add_progress_flag(app, options.progress)->group(group);
}

void check_running_flags(const TrainOptions& options) {
  need(!options.eval_only || !options.init.empty(), "--eval-only", "needs weights: give --init FILE");
  need(!options.eval_only || options.dataset != "synthetic", "--eval-only",
       "synthetic images have no validation set");
  need(!options.benchmark || !options.deterministic, "--benchmark",
       "chooses by time, which differs from run to run; --deterministic rules that out");
  need(options.benchmark || options.benchmark_seconds == 0, "--benchmark-seconds", "belongs to --benchmark");
  for (const auto& [flag, file] : {std::pair("--log", options.log), std::pair("--profile", options.profile)})
    need(file.empty() || !options.eval_only, flag, "records training steps, and --eval-only has none");
  need(options.place.size == 1 || !options.cuda_graph, "--cuda-graph",
       "belongs to one process: nobody would notice a rank that stops in a replayed collective");
  need(!options.cuda_graph || options.device.is_cuda(), "--cuda-graph", "needs --device cuda");
  need(!options.cuda_graph || !options.split_batches, "--cuda-graph",
       "excludes --oom split, which computes a step again in parts");
  need(!options.cuda_graph || !options.eval_only, "--cuda-graph",
       "is about training steps, and --eval-only has none");
  need(options.place.size == 1 || !options.split_batches, "--oom split",
       "belongs to one process: with several, one that splits its batch would keep the others waiting");
  need(options.memory_report.empty() || options.device.is_cuda(), "--memory-report",
       "shows the memory of a GPU; it needs --device cuda");
}

std::vector<std::string> flags_of_training(const CLI::App& app) {
  static const std::set<std::string> kOthers = {"--augment",        "--shuffle", "--zero-init-residual",
                                                "--dropout",        "--seed",    "--compress-gradients",
                                                "--shard-optimizer"};
  static const std::set<std::string> kEvaluation = {"--batch-size", "--batch-per-rank", "--eval-ema"};
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name(), group = option->get_group();
    const bool is_one = group == "Schedule" || (group == "Optimisation" && !kEvaluation.contains(name));
    if (option->count() > 0 && (is_one || kOthers.contains(name))) flags.push_back(name);
  }
  return flags;
}

}  // namespace taper
