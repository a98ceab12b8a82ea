// Data parallelism on paper: how the efficiency of training falls from 8 to 4,096 GPUs, and which size of buckets is
// best. A step that was measured on one device is put on a network that is described by latency and bandwidth.
//
//   scaling_model --device cuda --batch 256 --save-step h200.json       # measures, saves, models
//   scaling_model --step h200.json --network nvlink4+ndr --curves efficiency.svg
//   mpirun -n 2 scaling_model --check --batch 4 --size 64               # the model beside ranks of this machine
//
// The model is in bench/scaling/: network.h (what an all-reduce costs) and timeline.h (what it hides behind).

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

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
  std::vector<std::string> networks;
  std::vector<int64_t> gpus = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
  int64_t timeline_gpus = 64;
  double bucket_mib = 25;
  int threads = 0;
  bool check = false;
};

constexpr const char* kFooter =
    "How to read the table: a step on one GPU takes T. On n GPUs each one still has its own batch, and the "
    "gradients of\n"
    "all are averaged, in buckets, while backward() goes on. What of that sticks out behind backward() is "
    "\"exposed\";\n"
    "efficiency is T / (T + exposed). Small buckets start early but pay the latency of the network often; "
    "large ones\n"
    "leave a long transfer at the end. \"best\" is the size with the shortest step.\n"
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
  print_out("{:>6} {:<5} {:>10} {:>11} {:>11} {:>10} {:>14}\n", "GPUs", "", "step ms", "efficiency",
            "exposed ms", "best MiB", "then");
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
      print_out("{:>6} {:<5} {:10.2f} {:10.1f}% {:11.2f} {:10.4g} {:13.1f}%\n", gpus, name(algorithm),
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
  const Step step = options.load.empty() ? Training(options.step).measure() : load_step(options.load);
  if (!options.save.empty()) save_step(options.save, step);
  print_out("measured: {}; {}\n", step.what, step.device);
  print_out(
      "forward {:.2f} ms, backward {:.2f} ms, optimizer {:.2f} ms; {} gradients of {:.1f} MB, in buckets of "
      "{:g} MiB\n",
      step.forward * 1e3, step.backward * 1e3, step.optimizer * 1e3, step.gradients.size(),
      double(step.bytes()) * 1e-6, options.bucket_mib);
  std::vector<Network> networks;
  for (const std::string& text : options.networks) networks.push_back(parse_network(text));
  if (networks.empty()) networks = known_networks();
  Json report = {{"step", Json::parse(to_text(step))}, {"bucket_mib", options.bucket_mib}};
  std::vector<Curve> curves;
  for (const Network& network : networks) model(options, step, network, report, curves);

  const Timeline timeline = simulate(step, buckets_of(options), [&](double bytes) {
    return all_reduce_seconds(networks[0], Algorithm::kRing, options.timeline_gpus, bytes);
  });
  const std::string title = fmt::format("a step on {} GPUs, {}, ring: {:.2f} ms", options.timeline_gpus,
                                        networks[0].name, timeline.seconds * 1e3);
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
  for (const std::string& path : {options.save, options.curves, options.timeline, options.json})
    if (!path.empty() && !options.check) AtomicFile::check(path);  // before the work, not after
  const int ranks = std::max(rank_place().value_or(RankPlace()).local_size, 1);
  set_num_threads(options.threads > 0 ? options.threads : std::max(1, available_cpus() / ranks));
  manual_seed(0);
  options.check ? run_check(options) : run_model(options);
}

}  // namespace

int main(int argc, char** argv) {
  start_program("scaling_model");
  ModelOptions options;
  CLI::App app("Data parallelism on paper: from a measured step to the efficiency on thousands of GPUs.",
               "scaling_model");
  app.footer(kFooter);
  const auto positive = CLI::PositiveNumber;
  app.add_option("--step", options.load,
                 "a step that --save-step wrote, on any machine; else one is measured");
  app.add_option("--save-step", options.save, "the file for the measured step");
  app.add_option("--network", options.networks,
                 "may be given more than once: nvlink4+ndr, nvlink4+100g, 25g (default: all three),\n"
                 "or NAME:LATENCY_US,GB/S[,GPUS_PER_NODE,LATENCY_US,GB/S[,PORTS]]: between nodes, then\n"
                 "inside one. mynet:10,25,4,3,200 has nodes of 4 GPUs, which share one port of 25 GB/s")
      ->allow_extra_args(false);
  app.add_option("--gpus", options.gpus, "how many")->check(positive)->delimiter(',')->capture_default_str();
  app.add_option("--bucket", options.bucket_mib, "MiB of gradients in a bucket")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--timeline-gpus", options.timeline_gpus, "whose timeline is shown, on the first network")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--curves", options.curves, "the SVG of efficiencies to write");
  app.add_option("--timeline", options.timeline, "the SVG of the timeline to write");
  app.add_option("--json", options.json, "also write the figures to this file");
  app.add_flag("--check", options.check, "under mpirun: the model beside what the ranks do");
  app.add_option("--device", options.step.device, "that the step is measured on: cpu, cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--arch", options.step.arch, "resnet18, 34, 50, 101 or 152")->capture_default_str();
  app.add_option("--batch", options.step.batch, "images a step and GPU")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--size", options.step.size, "their height and width")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--precision", options.step.precision, "f32, or bf16: autocast")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--repeats", options.step.repeats, "steps to measure")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--threads", options.threads, "of the CPU; 0: all, or this rank's share")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
}
