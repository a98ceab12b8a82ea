#include "bench/scaling/timeline.h"

#include <algorithm>

#include "taper/core/base/error.h"

namespace taper::scaling {

int64_t Step::bytes() const {
  int64_t sum = 0;
  for (const Gradient& one : gradients) sum += one.bytes;
  return sum;
}

Timeline simulate(const Step& step, const DataParallelOptions& options, const Cost& cost, double slowdown) {
  TAPER_CHECK(slowdown >= 0 && slowdown <= 1, "slowdown must be from 0 to 1, got {}", slowdown);
  std::vector<BucketEntry> row;
  for (const Gradient& one : step.gradients) row.push_back({.bytes = one.bytes});
  Timeline timeline = {.buckets = {}, .forward_end = step.forward};
  // When that part of backward() is computed, with the transfers so far.
  const auto time_of = [&](double part) {
    double time = step.forward, done = 0;
    for (const BucketTime& one : timeline.buckets) {
      if (part <= done + (one.begin - time)) break;
      done += one.begin - time;
      const double beside = (1 - slowdown) * (one.end - one.begin);
      if (part <= done + beside) return one.begin + (part - done) / (1 - slowdown);
      done += beside;
      time = one.end;
    }
    return time + (part - done);
  };
  size_t first = 0;
  for (const size_t behind : cut_buckets(row, options)) {
    BucketTime bucket;
    double part = 0;
    for (size_t i = first; i < behind; ++i) {
      bucket.bytes += step.gradients[i].bytes;
      part = std::max(part, step.gradients[i].ready);
    }
    first = behind;
    bucket.ready = time_of(part);
    bucket.begin =
        timeline.buckets.empty() ? bucket.ready : std::max(bucket.ready, timeline.buckets.back().end);
    bucket.end = bucket.begin + cost(double(bucket.bytes));
    timeline.buckets.push_back(bucket);
  }
  timeline.backward_end = time_of(step.backward);
  const double last = timeline.buckets.empty() ? 0 : timeline.buckets.back().end;
  timeline.seconds = std::max(timeline.backward_end, last) + step.optimizer;
  timeline.exposed = timeline.seconds - step.seconds();
  return timeline;
}

BestBucket find_best_bucket(const Step& step, const Cost& cost) {
  constexpr int64_t kLeast = 64 << 10;
  constexpr double kAsGood = 1.001;
  const DataParallelOptions usual;
  std::vector<int64_t> sizes = {usual.bucket_bytes};
  for (int64_t bytes = kLeast; bytes < 2 * step.bytes(); bytes *= 2) sizes.push_back(bytes);
  std::sort(sizes.begin(), sizes.end());
  std::vector<BestBucket> all;
  for (const int64_t bytes : sizes) {
    const DataParallelOptions cut = {.bucket_bytes = bytes,
                                     .first_bucket_bytes = std::min(bytes, usual.first_bucket_bytes)};
    all.push_back({bytes, simulate(step, cut, cost)});
  }
  double least = all[0].timeline.seconds;
  for (const BestBucket& one : all) least = std::min(least, one.timeline.seconds);
  return *std::find_if(all.rbegin(), all.rend(),
                       [&](const BestBucket& one) { return one.timeline.seconds <= least * kAsGood; });
}

}  // namespace taper::scaling
