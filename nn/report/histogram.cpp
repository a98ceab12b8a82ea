#include "taper/nn/report/histogram.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

// A bucket is what f32's leading bits say: the sign, the exponent, two bits of the fraction.
constexpr int kDroppedBits = 21;
constexpr size_t kBucketsPerSign = size_t(1) << (31 - kDroppedBits);
constexpr size_t kInfinityBucket = size_t(255) << (23 - kDroppedBits);    // and NaN above it
constexpr size_t kTinyBuckets = size_t(127 - 40) << (23 - kDroppedBits);  // below 2^-40

constexpr uint32_t kInfinityBits = 0x7f800000;
constexpr int64_t kBlock = 4096;  // values that stay in the first cache

/// Returns the smallest magnitude of a bucket.
double lower_edge(size_t bucket) {
  if (bucket == kInfinityBucket) return std::ldexp(1.0, 128);
  return double(std::bit_cast<float>(uint32_t(bucket) << kDroppedBits));
}

/// Counts values and adds them up. Neighbours go to different tables and sums, so that no addition waits for the
/// one before.
class ValueCounter {
 public:
  void add(const float* values, int64_t count) {
    uint32_t largest_bits = 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto bits = std::bit_cast<uint32_t>(values[i]);
      ++counts_[size_t(i) % kTables][bits >> kDroppedBits];
      largest_bits = std::max(largest_bits, bits & 0x7fffffff);
    }
    int64_t done = 0;
    if (largest_bits < kInfinityBits) {
      for (; done + int64_t(kLanes) <= count; done += kLanes)
        for (size_t lane = 0; lane < kLanes; ++lane) add_finite(values[done + int64_t(lane)], lane);
    }
    for (; done < count; ++done)
      if (std::isfinite(values[done])) add_finite(values[done], 0);
  }

  uint64_t count(size_t bucket) const {
    uint64_t count = 0;
    for (const auto& table : counts_) count += table[bucket];
    return count;
  }

  void write(Histogram& histogram) const {
    for (size_t i = 0; i < 2 * kBucketsPerSign; ++i)
      (i % kBucketsPerSign < kInfinityBucket ? histogram.count : histogram.not_finite) += int64_t(count(i));
    if (histogram.count == 0) return;
    histogram.least = double(*std::ranges::min_element(least_));
    histogram.largest = double(*std::ranges::max_element(largest_));
    for (size_t lane = 0; lane < kLanes; ++lane) {
      histogram.sum += sums_[lane];
      histogram.sum_squares += squares_[lane];
    }
  }

 private:
  static constexpr size_t kTables = 4, kLanes = 8;

  void add_finite(float value, size_t lane) {
    least_[lane] = std::min(least_[lane], value);
    largest_[lane] = std::max(largest_[lane], value);
    sums_[lane] += double(value);
    squares_[lane] += double(value) * double(value);
  }

  std::array<std::array<uint64_t, 2 * kBucketsPerSign>, kTables> counts_{};
  std::array<float, kLanes> least_ = filled(std::numeric_limits<float>::infinity());
  std::array<float, kLanes> largest_ = filled(-std::numeric_limits<float>::infinity());
  std::array<double, kLanes> sums_{}, squares_{};

  static constexpr std::array<float, kLanes> filled(float value) {
    std::array<float, kLanes> all{};
    all.fill(value);
    return all;
  }
};

/// Collects buckets from the lowest value up, and leaves out empty ones where it can.
class BucketList {
 public:
  explicit BucketList(Histogram& histogram) : histogram_(histogram) {}

  void add(double from, double to, uint64_t count) {
    if (count == 0) return;
    std::vector<double>& limits = histogram_.limits;
    std::vector<double>& counts = histogram_.counts;
    if (!limits.empty() && limits.back() < from) {  // what lies between is empty
      limits.push_back(from);
      counts.push_back(0);
    }
    limits.push_back(to);
    counts.push_back(double(count));
  }

 private:
  Histogram& histogram_;
};

}  // namespace

Histogram histogram_of(const Tensor& x) {
  const Tensor values = ops::contiguous(ops::cast(ops::to_device(x, kCPU), kFloat32));
  const auto counter = std::make_unique<ValueCounter>();
  const float* const data = values.data<float>();
  for (int64_t begin = 0; begin < values.numel(); begin += kBlock)
    counter->add(data + begin, std::min(kBlock, values.numel() - begin));
  Histogram histogram;
  counter->write(histogram);
  if (histogram.count == 0) return histogram;
  BucketList buckets(histogram);
  for (size_t i = kInfinityBucket; i-- > kTinyBuckets;)
    buckets.add(-lower_edge(i + 1), -lower_edge(i), counter->count(kBucketsPerSign + i));
  uint64_t tiny = 0;
  for (size_t i = 0; i < kTinyBuckets; ++i) tiny += counter->count(i) + counter->count(kBucketsPerSign + i);
  buckets.add(-lower_edge(kTinyBuckets), lower_edge(kTinyBuckets), tiny);
  for (size_t i = kTinyBuckets; i < kInfinityBucket; ++i)
    buckets.add(lower_edge(i), lower_edge(i + 1), counter->count(i));
  return histogram;
}

}  // namespace taper
