#include "report.h"

#include <algorithm>
#include <cstdio>

#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/report/memory_report.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper {
namespace {

/// "cpu", or "cuda:0 (NVIDIA H200)".
std::string describe(Device device) {
  if (device.is_cpu()) return device.str();
  return fmt::format("{} ({})", device, gpu::properties(device.index).name);
}

/// Prints what --benchmark measured and what it left out, as one line.
void print_benchmark(double seconds_allowed) {
  const AlgorithmStatistics done = algorithm_cache().statistics();
  print_out("benchmark: {} problems measured in {:.1f} s, {} known from earlier runs", done.benchmarked,
            done.benchmark_seconds, done.recalled);
  if (done.left_out > 0) print_out("; {} algorithms left out for lack of time", done.left_out);
  if (done.unmeasured > 0)
    print_out("; {} problems left to the estimates (--benchmark-seconds {:g})", done.unmeasured,
              seconds_allowed);
  print_out("\n");
}

/// Prints how many checkpoints there were and what they cost.
void print_checkpoints(const Outcome& outcome) {
  const CheckpointTally& tally = outcome.checkpoints;
  if (tally.written == 0) return;
  print_out("{} {} saved, the last {}; training waited {:.2f} s for {}\n", tally.written,
            tally.written == 1 ? "checkpoint" : "checkpoints", printable(tally.last_path),
            tally.waited_seconds, tally.written == 1 ? "it" : "them");
}

/// Prints what --cuda-graph came to, as one line.
void print_capture(const CaptureTally& tally, int64_t steps) {
  if (tally.replays > 0)
    print_out("cuda graph: {} of {} steps were replayed, from {} {}", tally.replays, steps, tally.graphs,
              tally.graphs == 1 ? "graph" : "graphs");
  else
    print_out("cuda graph: no step was replayed");
  if (tally.nodes > 0) print_out(", the last one of {} kernels, copies and fills", tally.nodes);
  if (!tally.refusal.empty())
    print_out("; {}cannot be captured: {}", tally.replays > 0 ? "some " : "it ", tally.refusal);
  print_out("\n");
}

/// Prints what the ranks told each other, and how much of that time training did not wait for.
void print_communication(const ProcessGroup& group) {
  const CollectiveStatistics told = group.statistics();
  const double hidden = told.seconds > 0 ? std::max(1 - told.waited_seconds / told.seconds, 0.0) : 0;
  print_out("{} ranks: {} collectives of {} in {:.1f} s, {:.0f}% of it hidden behind training\n",
            group.size(), told.calls, format_bytes(told.bytes), told.seconds, 100 * hidden);
}

}  // namespace

bool is_saved(const Outcome& outcome) {
  return !outcome.checkpoints.last_path.empty() && outcome.checkpoints.last_step == outcome.steps;
}

void print_header(const TrainOptions& options, const Setup& setup, size_t parameter_groups) {
  const Data& data = setup.data;
  const std::string name =
      options.dataset == "imagefolder" ? (data.train ? options.data : options.val) : options.dataset;
  print_out("{} ({} parameters, {} classes) on {}, {} px, {}, {}, {} threads\n", options.arch,
            setup.model->parameter_count(), data.num_classes, printable(name), options.image_size,
            describe(options.device),
            options.amp ? fmt::format("{} and {}", options.dtype, options.amp_name())
                        : fmt::format("{}", options.dtype),
            num_threads());
  if (data.train) {
    print_out(
        "{} images to learn from{}, {} steps of {} images, {} lr {:g} {}{}\n", data.train->dataset().size(),
        data.validation ? fmt::format(", {} to be judged by", data.validation->dataset().size()) : "",
        setup.plan.total_steps, setup.plan.images_per_step, options.optimizer, setup.lr, options.schedule,
        parameter_groups > 1 ? fmt::format(", {} parameter groups", parameter_groups) : "");
  }
  if (options.place.size > 1)
    print_out("{} ranks, {} of them on this host, each with its part of every batch{}\n", options.place.size,
              options.place.local_size, options.shard_optimizer ? " and of the optimiser's memory" : "");
  for (const std::string& note : data.notes) print_out("{}\n", note);
  std::fflush(stdout);
}

void Report::on_epoch_end(const EpochRecord& record) {
  if (record.epoch == 0) tell_unreadable();
}

void Report::on_run_end(const Outcome& outcome) {
  if (options_.eval_only && outcome.score)
    print_out("top1 {:.2f}%  top5 {:.2f}%  loss {:.4f}\n", 100 * outcome.score->top1,
              100 * outcome.score->top5, outcome.score->loss);
  tell_unreadable();
  if (options_.benchmark) print_benchmark(options_.benchmark_seconds);
  print_checkpoints(outcome);
  if (outcome.capture) print_capture(*outcome.capture, outcome.steps);
  if (group_ && outcome.steps > 0) print_communication(*group_);
  if (outcome.ending == Ending::kInterrupted)
    print_out("interrupted after {} of {} steps{}\n", outcome.steps, setup_.plan.total_steps,
              !is_saved(outcome)                ? ""
              : outcome.checkpoints.written > 0 ? "; the same command with --resume auto goes on"
                                                : "; the same command goes on");
}

void Report::tell_unreadable() {
  const std::vector<std::string> unreadable = setup_.data.unreadable();
  if (unreadable.size() == told_) return;
  told_ = unreadable.size();
  constexpr size_t kShown = 5;
  std::fprintf(stderr, "%zu unreadable %s left out:\n", told_, told_ == 1 ? "image was" : "images were");
  for (size_t i = 0; i < std::min(told_, kShown); ++i)
    std::fprintf(stderr, "  %s\n", printable(unreadable[i]).c_str());
  if (told_ > kShown) std::fprintf(stderr, "  and %zu more\n", told_ - kShown);
}

void ProfileReport::on_run_end(const Outcome& outcome) {
  StepProfile::on_run_end(outcome);
  print_out("{}\n", result());
}

void MemoryReport::on_run_end(const Outcome& /*outcome*/) {
  write_memory_report(path_);
  print_out("memory report in {}; open it in a browser\n", printable(path_));
}

}  // namespace taper
