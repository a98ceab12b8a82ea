// Training steps of ResNet-50 on images that stay on the device. scripts/gpu_race.py puts them beside
// PyTorch's (pytorch_resnet50.py: equal options, equal output).
//
//   resnet50_step --device cuda --batch 256 --size 224 --precision f32
//
// Prints one JSON object for a block of steps: speed by the wall clock from an idle device to an idle device,
// and how long the host was busy enqueuing. With --serve it runs a block for each line of the input, so that
// two programs can take turns. The last object, at the end of the input or after --blocks blocks, is a
// summary: memory, what an op costs the host, and with --kernels the time of each kernel in one step.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/base/allocator.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/profiler.h"
#include "taper/core/tf32.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/captured_step.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/random/random.h"
#include "taper/ops/vendor/engine_library.h"

using namespace taper;
using Json = nlohmann::json;

namespace {

struct StepOptions {
  std::string device = "cuda", precision = "f32", arch = "resnet50";
  int64_t batch = 256, size = 224, classes = 1000, steps = 10, warmup = 5, blocks = 5;
  int threads = 0;
  double benchmark_seconds = 0;
  bool benchmark = true, libraries = true, serve = false, kernels = false, cuda_graph = false;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class StepRace {
 public:
  explicit StepRace(const StepOptions& options)
      : options_(options),
        device_(options.device),
        scaler_({.enabled = options.precision == "fp16"}),
        model_(make_resnet(options.arch, {.num_classes = options.classes})) {
    model_.to(device_);
    optimizer_ = std::make_unique<SGD>(model_.named_parameters(),
                                       SgdOptions{.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4});
    const Shape shape = {options.batch, 3, options.size, options.size};
    images_ = ops::contiguous(ops::randn(shape, {.device = device_}), kChannelsLast);
    std::vector<int64_t> labels(size_t(options.batch));
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = int64_t(i) % options.classes;
    labels_ = ops::to_device(from_vector(labels), device_);
    if (options.cuda_graph)
      captured_ = std::make_unique<CapturedStep>(
          [this](const std::vector<Tensor>&) { return std::vector{work()}; }, optimizer_->parameters());
    for (int64_t i = 0; i < options.warmup; ++i) step();
    wait();
    allocator_for(device_).reset_peak();
  }

  Json block() {
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < options_.steps; ++i) step();
    const double host_seconds = seconds_since(start);
    wait();
    return {{"images_per_second", double(options_.batch * options_.steps) / seconds_since(start)},
            {"host_seconds_per_step", host_seconds / double(options_.steps)}};
  }

  Json summary() {
    const MemoryStats memory = allocator_for(device_).stats();
    Json result = {{"peak_memory_bytes", memory.peak_allocated_bytes},
                   {"reserved_memory_bytes", memory.peak_reserved_bytes},
                   {"loss", double(loss_.item())}};
    result["seconds_per_op"] = seconds_per_op();
    if (options_.benchmark) result["benchmark"] = benchmark_statistics();
    if (captured_)
      result["cuda_graph"] = {{"replays", captured_->replays()},
                              {"nodes", captured_->node_count()},
                              {"refusal", captured_->refusal()}};
    if (options_.kernels) result["kernels"] = kernels_of_a_step();
    return result;
  }

 private:
  void step() { loss_ = captured_ ? (*captured_)({})[0] : work(); }

  /// Returns the loss.
  Tensor work() {
    optimizer_->zero_grad();
    const Tensor loss = forward();
    scaler_.scale(loss).backward();
    scaler_.step(*optimizer_);
    scaler_.update();
    return loss.detach();
  }

  Tensor forward() {
    std::optional<AutocastGuard> autocast;
    if (options_.precision == "bf16" || options_.precision == "fp16")
      autocast.emplace(device_.type, options_.precision == "bf16" ? kBFloat16 : kFloat16);
    return cross_entropy(model_(images_), labels_);
  }

  void wait() const {
    if (device_.is_cuda()) gpu::synchronize(device_.index);
  }

  /// Returns what benchmark mode measured, and what it left out for lack of time.
  static Json benchmark_statistics() {
    const AlgorithmStatistics done = algorithm_cache().statistics();
    return {{"problems", done.benchmarked},      {"recalled", done.recalled},
            {"seconds", done.benchmark_seconds}, {"left_out", done.left_out},
            {"unmeasured", done.unmeasured},     {"struck_off", done.rejected}};
  }

  /// Returns the host's time to enqueue an op that is next to nothing for the device.
  double seconds_per_op() const {
    constexpr int kCalls = 500;  // fewer than a device's queue holds
    const NoGradGuard no_grad;
    const Tensor a = ops::full({8}, 1, {.device = device_});
    std::vector<double> times;
    for (int round = 0; round < 5; ++round) {
      wait();
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < kCalls; ++i) a + a;
      times.push_back(seconds_since(start) / kCalls);
    }
    wait();
    return *std::min_element(times.begin(), times.end());
  }

  /// Returns [{"kernel", "op", "calls", "bytes", "seconds"}], the longest first; bytes as in ProfileSpan.
  Json kernels_of_a_step() {
    Profiler profiler({.memory = false});
    step();
    const Profile profile = profiler.stop();
    struct Total {
      int64_t calls = 0, ns = 0, bytes = 0;
    };
    std::map<std::pair<std::string, std::string>, Total> totals;
    for (const ProfileSpan& span : profile.spans) {
      if (span.device < 0) continue;
      Total& total = totals[{span.name, span.op}];
      ++total.calls;
      total.ns += span.end_ns - span.begin_ns;
      total.bytes += span.bytes;
    }
    std::vector<Json> rows;
    for (const auto& [key, total] : totals) {
      rows.push_back({{"kernel", key.first},
                      {"op", key.second},
                      {"calls", total.calls},
                      {"bytes", total.bytes},
                      {"seconds", double(total.ns) * 1e-9}});
    }
    std::sort(rows.begin(), rows.end(),
              [](const Json& a, const Json& b) { return a["seconds"] > b["seconds"]; });
    return rows;
  }

  StepOptions options_;
  Device device_;
  GradScaler scaler_;
  ResNet model_;
  std::unique_ptr<SGD> optimizer_;
  Tensor images_, labels_, loss_;
  std::unique_ptr<CapturedStep> captured_;  ///< with --cuda-graph
};

void say(const Json& message) {
  fmt::print("{}\n", message.dump());
  std::fflush(stdout);
}

void run(const StepOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  manual_seed(0);
  if (!options.libraries) {
    ops::set_engine_library_loader(ops::VendorLibrary::kCublaslt, {});
    ops::set_engine_library_loader(ops::VendorLibrary::kCudnn, {});
  }
  set_allow_tf32_conv(options.precision == "tf32");
  set_allow_tf32_matmul(options.precision == "tf32");
  if (options.benchmark) algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  if (options.benchmark_seconds > 0)
    algorithm_cache().set_benchmark_limits({.seconds_in_all = options.benchmark_seconds});
  StepRace race(options);
  if (options.serve) {
    say({{"ready", true}});
    for (std::string line; std::getline(std::cin, line);) say(race.block());
  } else {
    for (int64_t i = 0; i < options.blocks; ++i) say(race.block());
  }
  say(race.summary());
}

}  // namespace

int main(int argc, char** argv) {
  start_program("resnet50_step");
  StepOptions options;
  CLI::App app("Measures training steps of ResNet-50.");
  const auto positive = CLI::PositiveNumber;
  app.add_option("--device", options.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--arch", options.arch, "resnet18, 34, 50, 101 or 152")->capture_default_str();
  app.add_option("--batch", options.batch, "images a step")->check(positive)->capture_default_str();
  app.add_option("--size", options.size, "their height and width")->check(positive)->capture_default_str();
  app.add_option("--classes", options.classes, "of the model")->check(positive)->capture_default_str();
  app.add_option("--precision", options.precision,
                 "f32; tf32: vendors' libraries may round products to TF32; bf16, fp16: autocast,\n"
                 "fp16 with a GradScaler")
      ->check(CLI::IsMember({"f32", "tf32", "bf16", "fp16"}))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "in a block")->check(positive)->capture_default_str();
  app.add_option("--warmup", options.warmup, "steps before the first block")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--blocks", options.blocks, "without --serve")->check(positive)->capture_default_str();
  app.add_option("--threads", options.threads, "of the CPU; 0: all")->capture_default_str();
  app.add_flag("--benchmark,!--no-benchmark", options.benchmark,
               "measure which algorithm is fastest (default)");
  app.add_option("--benchmark-seconds", options.benchmark_seconds,
                 "how long that may take in all; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--libraries,!--no-libraries", options.libraries,
               "use vendors' libraries where they help (default)");
  app.add_flag("--cuda-graph", options.cuda_graph, "replay the step as one graph");
  app.add_flag("--serve", options.serve, "run a block for each line of the input");
  app.add_flag("--kernels", options.kernels, "profile one step at the end");
  CLI11_PARSE(app, argc, argv);
  if (options.cuda_graph && Device(options.device).is_cpu()) {
    print_error("--cuda-graph: needs --device cuda");
    return 2;
  }
  try {
    run(options);
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
}
