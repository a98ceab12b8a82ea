// Data parallelism on paper: how the efficiency of training falls from 8 to 4,096 GPUs, and which size of buckets is
// best. A step that was measured on one device is put on a network that is described by latency and bandwidth.
//
//   scaling_model --device cuda --batch 256 --save-step h200.json       # measures, saves, models
//   scaling_model --step h200.json --network nvlink4+ndr --curves efficiency.svg
//   mpirun -n 2 scaling_model --check --batch 4 --size 64               # the model beside ranks of this machine
//
// The model is in bench/scaling/: network.h (what an all-reduce costs) and timeline.h (what it hides behind).

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/command_line.h"
#include "bench/scaling/charts.h"
#include "bench/scaling/check.h"
#include "bench/scaling/measured_step.h"
#include "bench/scaling/network.h"
#include "taper/core/base/available_cpus.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/ops/collective/rank_place.h"

using namespace taper;
using namespace taper::scaling;
using Json = nlohmann::json;

namespace {

struct ModelOptions {
  StepOptions step;
  std::string load, save, curves, timeline, json;
  std::vector<Network> networks = known_networks();
  std::vector<int64_t> gpus = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
  int64_t timeline_gpus = 64;
  double bucket_mib = 25;
  int threads = 0;
  bool check = false;
};

constexpr const char* kFooter =
    "How to read the table: a step on one GPU takes T. On n GPUs each one still has its own batch, and the "
    "gradients of\n"
    "all are averaged, in buckets, while backward() goes on. \"exposed\" is the time that a step has to wait "
    "for them\n"
    "after backward(); efficiency is T / (T + exposed). Small buckets start early but pay the latency of the "
    "network\n"
    "often; large ones leave a long transfer at the end. \"best bucket\" is the size with the shortest step, "
    "and \"its\n"
    "efficiency\" is the efficiency with buckets of that size.\n"
    "\n"
    "What the model leaves out: other traffic, ranks that wait for a slow one, the copies into the buckets, "
    "reading data,\n"
    "and what NCCL's kernels take from the GPU. Bandwidths are those of the data sheets; expect 80% of them.";

DataParallelOptions buckets_of(const ModelOptions& options) {
  return {.bucket_bytes = int64_t(options.bucket_mib * (1 << 20))};
}

/// Prints a network's rows. Adds them to the report, and its curves to `curves`.
void model(const ModelOptions& options, const Step& step, const Network& network, Json& report,
           std::vector<Curve>& curves) {
  print_out("\n{}: {}\n", network.name, network.source);
  print_out("{:>6} {:<5} {:>10} {:>11} {:>11} {:>16} {:>15}\n", "GPUs", "", "step ms", "efficiency",
            "exposed ms", "best bucket MiB", "its efficiency");
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree}) {
    Curve curve = {.label = fmt::format("{}, {}", network.name, name(algorithm)),
                   .gpus = options.gpus,
                   .efficiency = {}};
    for (const int64_t gpus : options.gpus) {
      const Cost cost = [&](double bytes) { return all_reduce_seconds(network, algorithm, gpus, bytes); };
      const Timeline timeline = simulate(step, buckets_of(options), cost);
      const BestBucket best = find_best_bucket(step, cost);
      const auto efficiency = [&](const Timeline& one) { return step.seconds() / one.seconds; };
      const double best_mib = double(best.bytes) / (1 << 20);
      print_out("{:>6} {:<5} {:10.2f} {:10.1f}% {:11.2f} {:16.4g} {:14.1f}%\n", gpus, name(algorithm),
                timeline.seconds * 1e3, efficiency(timeline) * 100, timeline.exposed * 1e3, best_mib,
                efficiency(best.timeline) * 100);
      curve.efficiency.push_back(efficiency(timeline));
      report["rows"].push_back({{"network", network.name},
                                {"algorithm", name(algorithm)},
                                {"gpus", gpus},
                                {"step_ms", timeline.seconds * 1e3},
                                {"efficiency", efficiency(timeline)},
                                {"exposed_ms", timeline.exposed * 1e3},
                                {"best_bucket_mib", best_mib},
                                {"best_efficiency", efficiency(best.timeline)}});
    }
    curves.push_back(std::move(curve));
  }
}

void run_model(const ModelOptions& options) {
  const Step step = options.load.empty() ? Training(options.step).measure()
                                         : as_bad_input([&] { return load_step(options.load); });
  if (!options.save.empty()) save_step(options.save, step);
  print_out("measured: {}; {}\n", step.what, step.device);
  print_out(
      "forward {:.2f} ms, backward {:.2f} ms, optimizer {:.2f} ms; {} gradients of {:.1f} MB, in buckets of "
      "{:g} MiB\n",
      step.forward * 1e3, step.backward * 1e3, step.optimizer * 1e3, step.gradients.size(),
      double(step.bytes()) * 1e-6, options.bucket_mib);
  Json report = {{"step", Json::parse(to_text(step))}, {"bucket_mib", options.bucket_mib}};
  std::vector<Curve> curves;
  for (const Network& network : options.networks) model(options, step, network, report, curves);

  const Network& first = options.networks[0];
  const Timeline timeline = simulate(step, buckets_of(options), [&](double bytes) {
    return all_reduce_seconds(first, Algorithm::kRing, options.timeline_gpus, bytes);
  });
  const std::string title = fmt::format("a step on {} GPUs, {}, ring: {:.2f} ms", options.timeline_gpus,
                                        first.name, timeline.seconds * 1e3);
  print_out("\n{}\n{}", title, print_timeline(timeline));
  if (!options.timeline.empty()) write_file_atomically(options.timeline, draw_timeline(title, timeline));
  if (!options.curves.empty())
    write_file_atomically(
        options.curves, draw_curves("Efficiency, modelled from: " + step.what + "; " + step.device, curves));
  if (!options.json.empty()) write_file_atomically(options.json, report.dump(2) + "\n");
}

void run_check(const ModelOptions& options) {
  const auto group = make_process_group(rank_place().value_or(RankPlace()));
  const Json report = check(*group, options.step);
  if (!options.json.empty() && group->rank() == 0) write_file_atomically(options.json, report.dump(2) + "\n");
}

void run(const ModelOptions& options) {
  const RankPlace place = rank_place().value_or(RankPlace());
  for (const std::string& path : {options.save, options.curves, options.timeline, options.json})
    if (!path.empty() && place.rank == 0)  // before the work, not after
      as_bad_input([&] { AtomicFile::check(path); });
  const int ranks = std::max(place.local_size, 1);
  set_num_threads(options.threads > 0 ? options.threads : std::max(1, available_cpus() / ranks));
  manual_seed(0);
  options.check ? run_check(options) : run_model(options);
}

std::vector<Network> networks_in(const std::vector<std::string>& texts) {
  std::vector<Network> networks;
  try {
    for (const std::string& text : texts) networks.push_back(parse_network(text));
  } catch (const Error& error) {
    throw CLI::ValidationError(error.what());
  }
  return networks;
}

constexpr Range<int64_t> kGpus = {1, 1000000};

std::vector<int64_t> gpus_in(const std::string& text) {
  std::vector<int64_t> gpus;
  for (const std::string& word : CLI::detail::split(text, ','))
    gpus.push_back(parse_number("--gpus", word, kGpus));
  return gpus;
}

void add_step_flags(CLI::App& app, ModelOptions& options) {
  const std::string group = "The step that is measured";
  add_training_flags(app, options.step, group);
  app.add_option("--precision", options.step.precision, "f32, or bf16: autocast")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str()
      ->group(group);
  add_number_with_default(app, "--repeats", options.step.repeats, Range<int64_t>{1, 1000000},
                          "how many steps are measured; their median counts")
      ->group(group);
  add_threads_flag(app, options.threads,
                   "threads that compute; 0: one for each CPU, or this rank's share of them")
      ->group(group);
  add_file(app, "--save-step", options.save, "writes the measured step")->group(group);
  add_file(app, "--step", options.load,
           "measures nothing: reads a step that --save-step wrote, on any machine")
      ->group(group);
}

void add_model_flags(CLI::App& app, ModelOptions& options) {
  const std::string group = "The model";
  app.add_option_function<std::vector<std::string>>(
         "--network",
         [&options](const std::vector<std::string>& texts) { options.networks = networks_in(texts); },
         "nvlink4+ndr, nvlink4+100g, 25g, or one of your own; may be repeated [all three].\n"
         "NAME:LATENCY_US,GB/S has one GPU in a node, and this link between nodes.\n"
         "NAME:LATENCY_US,GB/S,GPUS_PER_NODE,LATENCY_US,GB/S[,PORTS] has several: the first\n"
         "pair is the link between nodes, the second one the link inside a node. PORTS is\n"
         "how many links to other nodes the GPUs of a node share [1]. mine:10,25,4,3,200:\n"
         "10 us and 25 GB/s between nodes of 4 GPUs, 3 us and 200 GB/s inside them")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NETWORK")
      ->group(group);
  app.add_option_function<std::string>(
         "--gpus", [&options](const std::string& text) { options.gpus = gpus_in(text); },
         "how many GPUs: a row of the table for each number. They must fill nodes")
      ->type_name("N,N,...")
      ->default_str(fmt::format("{}", fmt::join(options.gpus, ",")))
      ->group(group);
  add_number_with_default(app, "--bucket", options.bucket_mib, Range<double>{0.001, 1e6},
                          "MiB of gradients in a bucket")
      ->group(group);
  add_number_with_default(app, "--timeline-gpus", options.timeline_gpus, kGpus,
                          "how many GPUs the timeline is of; it is on the first network")
      ->group(group);
  add_file(app, "--curves", options.curves, "writes the efficiencies as SVG")->group(group);
  add_file(app, "--timeline", options.timeline, "writes the timeline as SVG")->group(group);
}

void check_flags(const CLI::App& app, const ModelOptions& options, int ranks) {
  if (options.check) {
    refuse_flags(app,
                 {"--step", "--save-step", "--network", "--gpus", "--bucket", "--timeline-gpus", "--curves",
                  "--timeline"},
                 "is not for --check, which measures its own step and network");
    need(ranks > 1, "--check", "needs ranks: mpirun -n 2 scaling_model --check");
    return;
  }
  need(ranks == 1, "mpirun", "is for --check; the model is the work of one process");
  if (!options.load.empty())
    refuse_flags(
        app,
        {"--device", "--arch", "--batch", "--size", "--precision", "--repeats", "--threads", "--save-step"},
        "is of a step that is measured, and --step has one that was");
  const auto fill = [](const std::string& flag, int64_t gpus, const Network& network) {
    need(network.fills_nodes(gpus), flag,
         fmt::format("{} GPUs do not fill nodes of {}, as {} has them", gpus, network.gpus_per_node,
                     network.name));
  };
  for (const Network& network : options.networks)
    for (const int64_t gpus : options.gpus) fill("--gpus", gpus, network);
  fill("--timeline-gpus", options.timeline_gpus, options.networks[0]);
}

std::optional<int> parse_options(int argc, char** argv, ModelOptions& options) {
  CLI::App app("Data parallelism on paper: from a measured step to the efficiency on thousands of GPUs.",
               "scaling_model");
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_step_flags(app, options);
  add_model_flags(app, options);
  add_file(app, "--json", options.json, "also writes the figures");
  app.add_flag("--check", options.check,
               "under mpirun: the model beside what the ranks really do, for four sizes of buckets.\n"
               "Takes --json and the flags of the step, except --step and --save-step");
  const int ranks = rank_place().value_or(RankPlace()).size;
  return parse_command_line(app, argc, argv, [&] { check_flags(app, options, ranks); });
}

}  // namespace

int main(int argc, char** argv) {
  start_program("scaling_model");
  return run_program([&] {
    ModelOptions options;
    if (const auto exit_code = parse_options(argc, argv, options)) return *exit_code;
    run(options);
    return 0;
  });
}
