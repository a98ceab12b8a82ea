#include "bench/scaling/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>

#include "bench/scaling/network.h"
#include "taper/autograd/functions.h"
#include "taper/core/base/median.h"
#include "taper/core/files/program.h"
#include "taper/nn/parallel/distributed_data_parallel.h"

namespace taper::scaling {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 9;

/// Prints a line on rank 0 only.
template <class... Args>
void say(const ProcessGroup& group, fmt::format_string<Args...> format, Args&&... args) {
  if (group.rank() == 0) print_out("{}", fmt::format(format, std::forward<Args>(args)...));
}

/// All-reduces of several sizes: seconds over bytes, both rising.
struct Measured {
  std::vector<double> bytes, seconds;

  /// Returns the seconds of another size, on the line between its neighbours.
  double at(double size) const {
    size_t i = 1;
    while (i + 1 < bytes.size() && bytes[i] < size) ++i;
    const double slope = (seconds[i] - seconds[i - 1]) / (bytes[i] - bytes[i - 1]);
    return std::max(0.0, seconds[i - 1] + slope * (size - bytes[i - 1]));
  }
};

/// Returns the median over parts of `buffer` in turn: gradients are not in the cache, either.
double measure_all_reduce(ProcessGroup& group, const Tensor& buffer, int64_t bytes) {
  const int64_t count = bytes / 4, parts = buffer.numel() / count;
  std::vector<double> seconds;
  for (int64_t i = -2; i < kRounds; ++i) {
    const int64_t part = (i + parts) % parts;
    const Tensor x = buffer.slice(0, part * count, (part + 1) * count);
    group.barrier();
    const Clock::time_point start = Clock::now();
    group.all_reduce(x).wait();
    if (i >= 0) seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  return median(seconds);
}

Measured measure_all_reduces(ProcessGroup& group) {
  constexpr int64_t kLargest = 64 << 20;
  const Tensor buffer = zeros({2 * kLargest / 4});
  Measured all;
  for (int64_t bytes = 16 << 10; bytes <= kLargest; bytes *= 4) {
    all.bytes.push_back(double(bytes));
    all.seconds.push_back(measure_all_reduce(group, buffer, bytes));
  }
  return all;
}

Link fit(const ProcessGroup& group, const Measured& all, Json& report) {
  const Link link = fit_ring(group.size(), all.bytes, all.seconds);
  say(group, "{} ranks: latency {:.1f} us, {:.2f} GB/s, fitted to all-reduces while nobody computes\n",
      group.size(), link.latency * 1e6, link.bytes_per_second * 1e-9);
  say(group, "{:>12} {:>12} {:>12} {:>8}\n", "bytes", "model ms", "measured ms", "off");
  for (size_t i = 0; i < all.bytes.size(); ++i) {
    const double model = ring_seconds(link, group.size(), all.bytes[i]), measured = all.seconds[i];
    say(group, "{:12.0f} {:12.3f} {:12.3f} {:+7.0f}%\n", all.bytes[i], model * 1e3, measured * 1e3,
        (model / measured - 1) * 100);
    report["all_reduces"].push_back(
        {{"bytes", all.bytes[i]}, {"model_ms", model * 1e3}, {"measured_ms", measured * 1e3}});
  }
  report["latency_us"] = link.latency * 1e6;
  report["gigabytes_per_second"] = link.bytes_per_second * 1e-9;
  return link;
}

/// Returns the slowest rank's step: ranks wait for it.
Step slowest(ProcessGroup& group, const Step& own) {
  Step slowest = own;
  for (const std::string& text : group.gather_texts(to_text(own), "steps"))
    if (const Step other = step_from_text(text); other.seconds() > slowest.seconds()) slowest = other;
  return slowest;
}

/// A model whose gradients travel in buckets of one size.
struct Wrapped {
  Wrapped(const StepOptions& options, ProcessGroup& group, const DataParallelOptions& cut)
      : buckets(cut), training(options), parallel(training.model(), group, cut) {}
  DataParallelOptions buckets;
  Training training;
  DistributedDataParallel parallel;
  std::vector<double> seconds = {};
};

}  // namespace

Json check(ProcessGroup& group, const StepOptions& options) {
  TAPER_CHECK(group.size() > 1, "--check needs ranks: mpirun -n 2 scaling_model --check");
  Json report = {{"ranks", group.size()}};
  const Measured all_reduces = measure_all_reduces(group);
  const Link link = fit(group, all_reduces, report);
  Training plain(options);
  group.barrier();
  const Step step = slowest(group, plain.measure());
  std::vector<std::unique_ptr<Wrapped>> all;
  for (const int64_t megabytes : {1, 5, 25, 1000})
    all.push_back(
        std::make_unique<Wrapped>(options, group, DataParallelOptions{.bucket_bytes = megabytes << 20}));
  std::vector<double> plain_seconds;
  for (int i = -2; i < kRounds; ++i) {  // the first step finds the order of the gradients
    group.barrier();
    const double seconds = plain.step();
    if (i >= 0) plain_seconds.push_back(seconds);
    for (auto& one : all) {
      group.barrier();
      const double wrapped = one->training.step();
      if (i >= 0) one->seconds.push_back(wrapped);
    }
  }
  say(group, "\n{}, {} on each of {} ranks; medians of {} steps\n", step.what, step.device, group.size(),
      kRounds);
  say(group, "a plain step: {:.1f} ms measured alone, {:.1f} ms between the others\n", step.seconds() * 1e3,
      median(plain_seconds) * 1e3);
  const Cost by_link = [&](double bytes) { return ring_seconds(link, group.size(), bytes); };
  const Cost by_times = [&](double bytes) { return all_reduces.at(bytes); };
  say(group, "{:>12} {:>8} {:>19} {:>19} {:>19} {:>12}\n", "bucket MiB", "buckets", "link, beside",
      "link, instead", "times, instead", "measured ms");
  for (auto& one : all) {
    const double measured = median(one->seconds);
    say(group, "{:12} {:8}", one->buckets.bucket_bytes >> 20, one->parallel.buckets().size());
    Json line = {{"bucket_bytes", one->buckets.bucket_bytes}, {"measured_ms", measured * 1e3}};
    for (const auto& [name, cost, slowdown] : {std::tuple{"link_beside_ms", by_link, 0.0},
                                               {"link_instead_ms", by_link, 1.0},
                                               {"times_instead_ms", by_times, 1.0}}) {
      const double seconds = simulate(step, one->buckets, cost, slowdown).seconds;
      say(group, " {:11.1f} ({:+4.0f}%)", seconds * 1e3, (seconds / measured - 1) * 100);
      line[name] = seconds * 1e3;
    }
    say(group, " {:12.1f}\n", measured * 1e3);
    report["steps"].push_back(line);
  }
  say(group,
      "link: an all-reduce takes what the fitted latency and bandwidth say; times: what was measured above. "
      "beside: the\n"
      "network works by itself; instead: computation stands still meanwhile, as where a rank has one CPU for "
      "both. The\n"
      "model knows nothing of copies into buckets, of ranks that wait for each other, nor of what shares the "
      "caches.\n");
  report["plain_ms"] = median(plain_seconds) * 1e3;
  report["step"] = Json::parse(to_text(step));
  return report;
}

}  // namespace taper::scaling
