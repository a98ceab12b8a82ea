// What stays of a run, however it ended: reports of what was noticed on the way, and the summary.

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "taper/core/files/atomic_file.h"
#include "taper/core/files/program.h"
#include "taper/nn/report/memory_report.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/version.h"
#include "training.h"

namespace taper {
namespace {

const char* name_of(Ending ending) {
  switch (ending) {
    case Ending::kFinished:
      return "finished";
    case Ending::kInterrupted:
      return "interrupted";
    case Ending::kNotFinite:
      return "nan";
    case Ending::kOutOfMemory:
      return "out of memory";
    case Ending::kFailed:
      return "error";
  }
  return "";
}

/// What --benchmark measured and what it left out, as one line.
void report_benchmark(double seconds_allowed) {
  const AlgorithmStatistics done = algorithm_cache().statistics();
  print_out("benchmark: {} problems measured in {:.1f} s, {} known from earlier runs", done.benchmarked,
            done.benchmark_seconds, done.recalled);
  if (done.left_out > 0) print_out("; {} algorithms left out for lack of time", done.left_out);
  if (done.unmeasured > 0)
    print_out("; {} problems left to the estimates (--benchmark-seconds {:g})", done.unmeasured,
              seconds_allowed);
  print_out("\n");
}

}  // namespace

void Training::end_early(Ending ending, const std::string& why) {
  outcome_.ending = ending;
  outcome_.errors.push_back(why);
}

bool Training::could(const std::function<void()>& write) {
  try {
    write();
    return true;
  } catch (const std::exception& error) {
    outcome_.errors.emplace_back(error.what());
    return false;
  }
}

std::vector<std::string> Training::broken_pictures() const {
  std::set<std::string> broken;  // the same folder may serve for both
  for (const DataLoader* loader : {train_.get(), validation_.get()})
    if (loader) std::ranges::copy(loader->broken_pictures(), std::inserter(broken, broken.end()));
  return {broken.begin(), broken.end()};
}

void Training::report_broken() {
  const std::vector<std::string> broken = broken_pictures();
  if (broken.size() == broken_told_) return;
  broken_told_ = broken.size();
  constexpr size_t kShown = 5;
  std::fprintf(stderr, "%zu unreadable %s left out:\n", broken.size(),
               broken.size() == 1 ? "picture was" : "pictures were");
  for (size_t i = 0; i < std::min(broken.size(), kShown); ++i)
    std::fprintf(stderr, "  %s\n", printable(broken[i]).c_str());
  if (broken.size() > kShown) std::fprintf(stderr, "  and %zu more\n", broken.size() - kShown);
}

void Training::report_unwritten() {
  progress_.clear();
  print_error(outcome_.errors.back() + "; training goes on without it");
}

void Training::write_results() {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  progress_.clear();
  if (options_.eval_only && score_)
    print_out("top1 {:.2f}%  top5 {:.2f}%  loss {:.4f}\n", 100 * score_->top1, 100 * score_->top5,
              score_->loss);
  report_broken();
  if (options_.benchmark) report_benchmark(options_.benchmark_seconds);
  if (outcome_.ending == Ending::kInterrupted)
    print_out("interrupted after {} of {} steps\n", step_, total_steps_);
  if (profile_ && could([&] { profile_->finish(); })) print_out("{}\n", profile_->outcome());
  if (!options_.memory_report.empty() && could([&] { write_memory_report(options_.memory_report); }))
    print_out("memory report in {}; open it in a browser\n", printable(options_.memory_report));
  if (!options_.summary.empty()) could([&] { write_summary(seconds); });
}

void Training::write_summary(double seconds) const {
  nlohmann::ordered_json summary;
  summary["arch"] = options_.arch;
  summary["dataset"] = options_.dataset;
  summary["ended"] = name_of(outcome_.ending);
  summary["errors"] = outcome_.errors;
  summary["top1"] = nullptr;
  summary["top5"] = nullptr;
  if (score_) {
    summary["top1"] = score_->top1;
    summary["top5"] = score_->top5;
  }
  summary["final_loss"] = nullptr;  // as is a loss that is NaN
  summary["images_per_second"] = nullptr;
  if (last_loss_) {
    summary["final_loss"] = *last_loss_;
    summary["images_per_second"] = images_per_second();
  } else if (score_) {
    summary["final_loss"] = score_->loss;
  }
  summary["steps"] = step_;
  summary["interrupted"] = outcome_.ending == Ending::kInterrupted;
  std::vector<std::string> broken = broken_pictures();
  summary["unreadable_pictures"] = broken.size();
  broken.resize(std::min<size_t>(broken.size(), 100));
  summary["unreadable_first"] = broken;
  summary["seconds"] = seconds;
  summary["parameters"] = model_->parameter_count();
  summary["device"] = options_.device.str();
  summary["dtype"] = name(options_.dtype);
  summary["peak_memory_bytes"] = allocator_for(options_.device).stats().peak_allocated_bytes;
  summary["version"] = kVersion;
  // Names of files, in errors, may hold any bytes.
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  write_file_atomically(options_.summary, summary.dump(2, ' ', false, replace) + "\n");
}

}  // namespace taper
