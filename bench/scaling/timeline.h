#pragma once
// A training step on many GPUs as a timeline: when each bucket of gradients is full, when it is on its way, and when
// the step is over.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "taper/nn/parallel/buckets.h"

namespace taper::scaling {

struct Gradient {
  std::string name;
  int64_t bytes = 0;
  double ready = 0;  ///< seconds from the start of backward()
};

/// A step on one GPU.
struct Step {
  std::string what;                                 ///< model, batch and precision
  std::string device;                               ///< where it was measured
  double forward = 0, backward = 0, optimizer = 0;  ///< seconds
  std::vector<Gradient> gradients = {};             ///< in the order in which they are ready

  double seconds() const { return forward + backward + optimizer; }
  int64_t bytes() const;
};

/// Seconds from the start of the step.
struct BucketTime {
  int64_t bytes = 0;
  double ready = 0;  ///< its last gradient is there
  double begin = 0, end = 0;
};

struct Timeline {
  std::vector<BucketTime> buckets;
  double forward_end = 0, backward_end = 0;
  double seconds = 0;  ///< of the step
  double exposed = 0;  ///< of that, what communication adds
};

/// Returns the seconds of an all-reduce of so many bytes.
using Cost = std::function<double(double bytes)>;

/// Buckets go one after the other, each when it is full and the one before has arrived; the optimiser waits for the last
/// one. `slowdown`: the share of its speed that the computation loses while a bucket is on its way, 0 where the network
/// works by itself, up to 1 where CPUs must do both.
Timeline simulate(const Step& step, const DataParallelOptions& options, const Cost& cost,
                  double slowdown = 0);

struct BestBucket {
  int64_t bytes = 0;
  Timeline timeline;
};

/// Returns the size of buckets with the shortest step, among powers of two from 64 KiB to all gradients in one, and
/// DistributedDataParallel's usual size; of those that are within 0.1% of it the largest. The first bucket is at most
/// the usual one.
BestBucket find_best_bucket(const Step& step, const Cost& cost);

}  // namespace taper::scaling
