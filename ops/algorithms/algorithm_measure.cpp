#include "taper/ops/algorithms/algorithm_measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include "taper/core/base/median.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/base/parallel.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_compare.h"

namespace taper::detail {
namespace {

constexpr size_t kRounds = 7;          // timings of a candidate that stays in the race,
constexpr size_t kMostRounds = 21;     // and of one that other programs disturb
constexpr double kDisturbed = 1.25;    // disturbed: its median is this many times its best
constexpr double kHopeless = 2;        // hopeless: its best is this many times the fastest; not timed again
constexpr size_t kHopelessRounds = 3;  // after this many timings, or after one
constexpr double kHopelessMs = 50;     // that took too long to be a disturbance
constexpr double kShortestMs = 0.2;    // a timing takes at least this long, by repetition
constexpr double kMostRepetitions = 50;

void copy_bytes(const Tensor& to, const Tensor& from) {
  const size_t size_bytes = span_bytes(from);
  if (size_bytes == 0) return;
  if (from.device().is_cpu()) {
    std::memcpy(to.data_ptr(), from.data_ptr(), size_bytes);
  } else {
    gpu::copy_async(to.data_ptr(), from.data_ptr(), size_bytes, gpu::CopyKind::kDeviceToDevice,
                    gpu::current_stream(from.device().index));
  }
}

/// A call whose outputs are copies.
class ScratchCall {
 public:
  explicit ScratchCall(CallCopy copy) : copy_(std::move(copy)) {
    for (Tensor* output : copy_.outputs) {
      originals_.push_back(*output);
      *output = empty_strided(output->shape(), output->strides(), output->dtype(), output->device());
    }
    restore();
  }

  const void* get() const { return copy_.call.get(); }
  /// Restores the outputs' old values.
  void restore() const {
    for (size_t i = 0; i < originals_.size(); ++i) copy_bytes(*copy_.outputs[i], originals_[i]);
  }
  const std::vector<Tensor*>& results() const { return copy_.outputs; }
  /// Returns copies of the outputs.
  std::vector<Tensor> saved_results() const {
    std::vector<Tensor> saved;
    for (const Tensor* output : copy_.outputs) {
      saved.push_back(empty_strided(output->shape(), output->strides(), output->dtype(), output->device()));
      copy_bytes(saved.back(), *output);
    }
    return saved;
  }

 private:
  CallCopy copy_;
  std::vector<Tensor> originals_;
};

/// Returns the milliseconds that body() takes on `device`.
template <class Body>
double elapsed_ms(Device device, Body&& body) {
  if (device.is_cpu()) {
    const auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  const gpu::Stream stream = gpu::current_stream(device.index);
  gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn);
  start.record(stream);
  body();
  end.record(stream);
  end.synchronize();
  return double(end.elapsed_ms(start));
}

double time_algorithm(const Algorithm& algorithm, const ScratchCall& scratch, Device device,
                      int repetitions) {
  const SpanScope span(algorithm.name, SpanKind::kAlgorithm);
  const Storage workspace(algorithm.workspace_bytes, device);
  const double total = elapsed_ms(device, [&] {
    for (int i = 0; i < repetitions; ++i) algorithm.run.run_at(scratch.get(), workspace.data());
  });
  return total / repetitions;
}

/// A candidate's state in the rounds.
struct Runner {
  int repetitions = 1;
  std::vector<double> samples;

  double least() const { return *std::min_element(samples.begin(), samples.end()); }
  bool runs_again(double best) const {
    if (samples.empty()) return true;
    const bool sure = samples.size() >= kHopelessRounds || least() > kHopelessMs;
    if (sure && least() > kHopeless * best) return false;
    return samples.size() < kRounds ||
           (samples.size() < kMostRounds && median(samples) > kDisturbed * least());
  }
};

/// Whether `share` of the seconds allowed is over.
class Clock {
 public:
  explicit Clock(double seconds) : seconds_(seconds) {}
  bool is_over(double share = 1) const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() >=
           share * seconds_;
  }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The share of the time allowed in which compilations of plans may begin.
constexpr double kShareOfPlans = 0.6;

class Measurement {
 public:
  Measurement(CallCopy copy, std::span<const Candidate> candidates, Device device,
              const MeasureOptions& options)
      : candidates_(candidates),
        device_(device),
        options_(options),
        scratch_(std::move(copy)),
        clock_(options.seconds),
        runners_(candidates.size()) {
    for (const Candidate& candidate : candidates)
      timings_.push_back({.name = candidate.algorithm.name, .rejected = {}});
  }

  std::vector<AlgorithmTiming> run() {
    prepare();
    verify();
    for (size_t round = 0; round < kMostRounds; ++round) {
      for (size_t i = 0; i < candidates_.size(); ++i) time(i);
    }
    for (AlgorithmTiming& timing : timings_) {
      if (!timing.rejected.empty()) timing.median_ms = 0;
    }
    return std::move(timings_);
  }

 private:
  bool is_in_the_race(size_t i) const { return timings_[i].rejected.empty() && !timings_[i].left_out; }

  /// Calls body(), which makes candidate i do something, and notes a failure that rules the candidate out.
  template <class Body>
  void attempt(size_t i, bool for_the_first_time, Body&& body) {
    const auto reject = [&](const char* why, bool may_pass) {
      timings_[i].rejected = why;
      timings_[i].may_pass = may_pass;
    };
    try {
      options_.attempt(candidates_[i].algorithm, for_the_first_time, body);
    } catch (const DeviceLostError&) {
      throw;
    } catch (const OutOfMemoryError&) {
      reject("out of memory", true);
    } catch (const std::bad_alloc&) {
      reject("out of memory", true);
    } catch (const AlgorithmUnavailable& error) {
      reject(error.what(), true);
    } catch (const AlgorithmFailed& error) {
      reject(error.what(), false);
    } catch (const Error& error) {
      reject(error.what(), true);
    }
  }

  double time_run(size_t i, int repetitions) {
    return time_algorithm(candidates_[i].algorithm, scratch_, device_, repetitions);
  }

  /// Compiles plans, the most promising first, on as many threads as compute. Suspects are compiled alone, so
  /// that a second crash has one name.
  void prepare() {
    std::vector<size_t> together, alone;
    for (size_t i = 0; i < candidates_.size(); ++i)
      if (candidates_[i].algorithm.prepare) (candidates_[i].is_suspected ? alone : together).push_back(i);
    const auto prepare_one = [&](size_t i, bool is_first) {
      timings_[i].left_out = !is_first && clock_.is_over(kShareOfPlans);
      if (!timings_[i].left_out) attempt(i, true, [&] { candidates_[i].algorithm.prepare(); });
    };
    parallel_chunks(int64_t(together.size()), [&](int64_t k) { prepare_one(together[size_t(k)], k == 0); });
    for (const size_t i : alone) prepare_one(i, together.empty() && i == alone.front());
  }

  /// Compares results with the reference's: all candidates', or only those that are always verified.
  void verify() {
    const auto is_verified = [&](const Candidate& candidate) {
      return !candidate.is_reference && (options_.verify || candidate.algorithm.always_verified);
    };
    if (std::none_of(candidates_.begin(), candidates_.end(), is_verified)) return;
    size_t reference = 0;
    while (!candidates_[reference].is_reference) ++reference;
    std::vector<Tensor> expected;
    attempt(reference, true, [&] {
      time_run(reference, 1);
      expected = scratch_.saved_results();
    });
    for (size_t i = 0; i < candidates_.size(); ++i) {
      if (!is_verified(candidates_[i]) || !is_in_the_race(i)) continue;
      if (expected.empty()) {
        timings_[i].rejected =
            fmt::format("cannot be verified: {}: {}", candidates_[reference].algorithm.name,
                        timings_[reference].rejected);
        timings_[i].may_pass = timings_[reference].may_pass;
        continue;
      }
      timings_[i].left_out = i > 0 && clock_.is_over();
      if (timings_[i].left_out) continue;
      std::string found;
      attempt(i, true, [&] {
        scratch_.restore();
        time_run(i, 1);
        for (size_t k = 0; k < expected.size() && found.empty(); ++k)
          found = difference(*scratch_.results()[k], expected[k], candidates_[i].algorithm.epsilon,
                             candidates_[reference].algorithm.name);
      });
      timings_[i].is_wrong = !found.empty();
      if (!found.empty()) timings_[i].rejected = found;
    }
  }

  /// One more timing of candidate i, unless it has had enough.
  void time(size_t i) {
    Runner& runner = runners_[i];
    const bool is_first = runner.samples.empty();
    if (!is_in_the_race(i) || !runner.runs_again(best_ms_)) return;
    if (clock_.is_over() && std::isfinite(best_ms_)) {  // at least one must be timed
      timings_[i].left_out = is_first;
      return;
    }
    attempt(i, is_first, [&] {
      if (is_first) {  // the first run fills caches and allocates memory
        double first = time_run(i, 1);
        // On a GPU it may also load or compile code, so time a second run.
        if (device_.is_cuda() && first > kShortestMs) first = time_run(i, 1);
        runner.repetitions = int(std::clamp(kShortestMs / std::max(first, 1e-6), 1., kMostRepetitions));
      }
      runner.samples.push_back(time_run(i, runner.repetitions));
    });
    if (!timings_[i].rejected.empty()) return;
    timings_[i].median_ms = median(runner.samples);
    best_ms_ = std::min(best_ms_, timings_[i].median_ms);
  }

  std::span<const Candidate> candidates_;
  Device device_;
  const MeasureOptions& options_;
  ScratchCall scratch_;
  Clock clock_;
  std::vector<Runner> runners_;
  std::vector<AlgorithmTiming> timings_;
  double best_ms_ = std::numeric_limits<double>::infinity();
};

}  // namespace

std::vector<AlgorithmTiming> measure(const std::function<CallCopy()>& copy_call,
                                     std::span<const Candidate> candidates, Device device,
                                     const MeasureOptions& options) {
  const OpScope scope("algorithm_cache");
  std::optional<gpu::DeviceGuard> guard;  // events belong to the current device
  if (device.is_cuda()) {
    guard.emplace(device.index);
    gpu::current_stream().synchronize();  // earlier failures here are no candidate's fault
  }
  return Measurement(copy_call(), candidates, device, options).run();
}

}  // namespace taper::detail
