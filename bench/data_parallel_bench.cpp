// What data parallelism costs by itself. By one process: a training step with DistributedDataParallel against a plain
// one. By several: the all-reduces of a step's gradients through ProcessGroup against MPI's blocking ones.
//
//   data_parallel_bench --arch resnet50 --batch 8 --size 224
//   mpirun -n 2 data_parallel_bench --megabytes 100 --bucket-megabytes 25
//
// What is compared takes turns in one run. A line has the median of the ratios within a round, and the quartiles.
// Ratios of a thing to itself, on the last line of the first table, say what the machine's noise is.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/command_line.h"
#include "bench/mpi/all_reduce.h"
#include "taper/autograd/functions.h"
#include "taper/core/base/available_cpus.h"
#include "taper/core/base/cpu_level.h"
#include "taper/core/base/median.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/ops/collective/local_group.h"
#include "taper/ops/collective/rank_place.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"

using namespace taper;
using Json = nlohmann::json;

namespace {

struct BenchOptions {
  std::string device = "cpu", arch = "resnet50", json;
  int64_t batch = 8, size = 224, rounds = 15, steps = 1;
  double megabytes = 100, bucket_megabytes = 25;
  int threads = 0;
};

using Clock = std::chrono::steady_clock;

/// Returns the seconds that `work` takes.
template <class Work>
double seconds_of(Work&& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Times of the rounds of two things that took turns.
struct Comparison {
  std::string name;
  std::vector<double> seconds, against;

  /// Prints a line and returns it for the file.
  Json report() const {
    std::vector<double> ratios;
    for (size_t i = 0; i < seconds.size(); ++i) ratios.push_back(seconds[i] / against[i]);
    std::sort(ratios.begin(), ratios.end());
    const double low = ratios[ratios.size() / 4], high = ratios[ratios.size() * 3 / 4];
    print_out("{:<44} {:9.2f} ms {:9.2f} ms   {:.4f} ({:.4f} to {:.4f})\n", name, median(seconds) * 1e3,
              median(against) * 1e3, median(ratios), low, high);
    return {{"name", name},
            {"median_ms", median(seconds) * 1e3},
            {"against_ms", median(against) * 1e3},
            {"ratio", median(ratios)},
            {"ratio_quartiles", {low, high}},
            {"rounds", ratios.size()}};
  }
};

/// A model that trains on images which stay where they are; with a group, data parallel.
class Training {
 public:
  Training(const BenchOptions& options, ProcessGroup* group)
      : device_(options.device), model_(make_resnet(options.arch, {.num_classes = 1000})) {
    model_.to(device_);
    optimizer_.emplace(model_.named_parameters(), SgdOptions{.lr = 0.01, .momentum = 0.9});
    images_ = ops::contiguous(ops::randn({options.batch, 3, options.size, options.size}, {.device = device_}),
                              kChannelsLast);
    std::vector<int64_t> labels(size_t(options.batch), 1);
    labels_ = ops::to_device(from_vector(labels), device_);
    if (group != nullptr) parallel_.emplace(model_, *group);
  }

  /// Returns the seconds of `steps` steps, from an idle device to an idle device.
  double block(int64_t steps) {
    return seconds_of([&] {
      for (int64_t i = 0; i < steps; ++i) {
        optimizer_->zero_grad();
        cross_entropy(model_(images_), labels_).backward();
        optimizer_->step();
      }
      if (device_.is_cuda()) gpu::synchronize(device_.index);
    });
  }

 private:
  Device device_;
  ResNet model_;
  std::optional<SGD> optimizer_;
  Tensor images_, labels_;
  std::optional<DistributedDataParallel> parallel_;
};

/// Steps of three models take turns: a plain one, one with the wrapper in a group of one rank, and another plain one.
Json measure_wrapper(const BenchOptions& options, ProcessGroup& group) {
  std::vector<std::unique_ptr<Training>> all;
  for (ProcessGroup* const one :
       {static_cast<ProcessGroup*>(nullptr), &group, static_cast<ProcessGroup*>(nullptr)})
    all.push_back(std::make_unique<Training>(options, one));
  for (auto& one : all) one->block(2);
  std::vector<std::vector<double>> seconds(all.size());
  for (int64_t round = 0; round < options.rounds; ++round)
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t turn = (i + size_t(round)) % all.size();
      seconds[turn].push_back(all[turn]->block(options.steps));
    }
  print_out("{}, {} images of {} px, {}, {} threads, {}; {} rounds of {} steps\n", options.arch,
            options.batch, options.size, options.device, num_threads(), name(cpu_level()), options.rounds,
            options.steps);
  Json lines = Json::array();
  lines.push_back(Comparison{"with DistributedDataParallel / plain", seconds[1], seconds[0]}.report());
  lines.push_back(Comparison{"plain again / plain", seconds[2], seconds[0]}.report());
  return lines;
}

/// All-reduces of the same buckets take turns. Throws Error if a sum is wrong.
Json measure_all_reduce(const BenchOptions& options, ProcessGroup& group) {
  const auto bucket = int64_t(options.bucket_megabytes * 1e6 / 4), all = int64_t(options.megabytes * 1e6 / 4);
  std::vector<Tensor> buckets;
  for (int64_t done = 0; done < all; done += bucket) buckets.push_back(empty({std::min(bucket, all - done)}));
  const auto through_group = [&](ReduceOp op) {
    return [&, op] {
      std::vector<Collective> under_way;
      for (const Tensor& x : buckets) under_way.push_back(group.all_reduce(x, op));
      for (Collective& one : under_way) one.wait();
    };
  };
  const auto directly = [&] {
    for (const Tensor& x : buckets) mpi_all_reduce(static_cast<float*>(x.data_ptr()), x.numel());
  };
  const int ranks = group.size();
  const auto round = [&](auto&& work, double expected) {
    for (const Tensor& x : buckets) ops::fill_(x, group.rank() + 1);
    group.barrier();
    const double seconds = seconds_of(work);
    for (const Tensor& x : buckets)
      TAPER_CHECK(ops::item(ops::all(ops::eq(x, expected))) != 0, "an all-reduce gave a wrong sum");
    return seconds;
  };
  const double sum = ranks * (ranks + 1) / 2.0;
  std::vector<double> sums, means, blocking;
  for (int64_t i = -1; i < options.rounds; ++i) {
    const double one[] = {round(through_group(ReduceOp::kSum), sum), round(directly, sum),
                          round(through_group(ReduceOp::kMean), sum / ranks)};
    if (i < 0) continue;  // memory and connections are new
    sums.push_back(one[0]), blocking.push_back(one[1]), means.push_back(one[2]);
  }
  if (group.rank() != 0) return {};
  print_out("{:g} MB in {} buckets, {} ranks on {} CPUs, {}; {} rounds\n", options.megabytes, buckets.size(),
            ranks, available_cpus(), name(cpu_level()), sums.size());
  Json lines = Json::array();
  lines.push_back(Comparison{"ProcessGroup's sum / MPI_Allreduce", sums, blocking}.report());
  lines.push_back(Comparison{"ProcessGroup's mean / MPI_Allreduce", means, blocking}.report());
  return lines;
}

void run(const BenchOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  manual_seed(0);
  const RankPlace place = rank_place().value_or(RankPlace());
  if (!options.json.empty() && place.rank == 0)  // before the work, not after
    as_bad_input([&] { AtomicFile::check(options.json); });
  const bool alone = place.size == 1;
  const std::unique_ptr<ProcessGroup> group =
      alone ? std::move(make_local_groups(1)[0]) : make_process_group(place);
  const Json lines = alone ? measure_wrapper(options, *group) : measure_all_reduce(options, *group);
  if (!options.json.empty() && group->rank() == 0)
    write_file_atomically(
        options.json,
        Json{{"device", options.device}, {"ranks", group->size()}, {"lines", lines}}.dump(2) + "\n");
}

constexpr double kMostAllReduces = 10000;  ///< in a round: more would take minutes

void add_flags(CLI::App& app, BenchOptions& options) {
  const std::string alone =
      "Without mpirun: a training step with DistributedDataParallel against a plain one";
  add_training_flags(app, options, alone);
  add_number_with_default(app, "--steps", options.steps, Range<int64_t>{1, 1000000},
                          "training steps that are timed together in a round")
      ->group(alone);
  const std::string ranks = "Under mpirun: the all-reduces of a step against MPI's";
  add_number_with_default(app, "--megabytes", options.megabytes, Range<double>{0.001, 100000},
                          "size of all gradients together, in 10^6 bytes; they are f32")
      ->group(ranks);
  add_number_with_default(app, "--bucket-megabytes", options.bucket_megabytes, Range<double>{0.001, 8000},
                          "size of a bucket; each bucket is one all-reduce")
      ->group(ranks);
  const std::string both = "Both";
  add_number_with_default(app, "--rounds", options.rounds, Range<int64_t>{1, 1000000},
                          "how often each thing is timed; a round times each once, in turn")
      ->group(both);
  add_threads_flag(app, options.threads, "threads that compute in a process; 0: one for each CPU")
      ->group(both);
  add_file(app, "--json", options.json, "also writes the figures")->group(both);
}

void check_flags(const CLI::App& app, const BenchOptions& options, int ranks) {
  if (ranks == 1) {
    refuse_flags(app, {"--megabytes", "--bucket-megabytes"}, "is for several ranks, under mpirun");
    return;
  }
  refuse_flags(app, {"--device", "--arch", "--batch", "--size", "--steps"}, "is for a run without mpirun");
  const double all_reduces = std::ceil(options.megabytes / options.bucket_megabytes);
  need(all_reduces <= kMostAllReduces, "--bucket-megabytes",
       fmt::format("{:g} MB in buckets of {:g} MB are {:.0f} all-reduces, more than {:.0f}",
                   options.megabytes, options.bucket_megabytes, all_reduces, kMostAllReduces));
}

}  // namespace

int main(int argc, char** argv) {
  start_program("data_parallel_bench");
  return run_program([&] {
    BenchOptions options;
    CLI::App app("What data parallelism costs by itself: alone, the wrapper; under mpirun, the all-reduces.",
                 "data_parallel_bench");
    app.get_formatter()->column_width(34);
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_flags(app, options);
    const int ranks = rank_place().value_or(RankPlace()).size;
    const auto check = [&] { check_flags(app, options, ranks); };
    if (const auto exit_code = parse_command_line(app, argc, argv, check)) return *exit_code;
    run(options);
    return 0;
  });
}
