#include "taper/core/algorithm_measure.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "taper/core/gpu/runtime.h"
#include "taper/core/op_scope.h"

namespace taper::detail {
namespace {

constexpr size_t kRounds = 7;          // timings of a candidate that stays in the race,
constexpr size_t kMostRounds = 21;     // and of one that other programs disturb:
constexpr double kDisturbed = 1.25;    // its median is so many times its best
constexpr double kHopeless = 2;        // at best so many times as slow as the fastest: not timed again
constexpr size_t kHopelessRounds = 3;  // after so many timings, or after one
constexpr double kHopelessMs = 50;     // that took so long that it was no disturbance
constexpr double kShortestMs = 0.2;    // a timing takes at least so long, by repetition
constexpr double kMostRepetitions = 50;

/// Bytes from a tensor's first element to its last.
size_t span_bytes(const Tensor& x) {
  if (x.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t i = 0; i < x.dim(); ++i) last += (x.size(i) - 1) * x.strides()[i];
  return size_t(last + 1) * size_of(x.dtype());
}

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

std::vector<std::byte> bytes_on_host(const Tensor& x) {
  std::vector<std::byte> bytes(span_bytes(x));
  if (bytes.empty()) return bytes;
  if (x.device().is_cpu()) {
    std::memcpy(bytes.data(), x.data_ptr(), bytes.size());
  } else {
    const gpu::Stream stream = gpu::current_stream(x.device().index);
    gpu::copy_async(bytes.data(), x.data_ptr(), bytes.size(), gpu::CopyKind::kDeviceToHost, stream);
    stream.synchronize();
  }
  return bytes;
}

/// A call whose outputs are copies.
class ScratchCall {
 public:
  explicit ScratchCall(const ErasedCall& call) : copy_(call.copy()) {
    for (Tensor* output : copy_.outputs) {
      originals_.push_back(*output);
      *output = empty_strided(output->shape(), output->strides(), output->dtype(), output->device());
    }
    restore();
  }

  const void* get() const { return copy_.call.get(); }
  /// Gives the outputs what they held before.
  void restore() const {
    for (size_t i = 0; i < originals_.size(); ++i) copy_bytes(*copy_.outputs[i], originals_[i]);
  }
  std::vector<std::vector<std::byte>> results() const {
    std::vector<std::vector<std::byte>> results;
    for (const Tensor* output : copy_.outputs) results.push_back(bytes_on_host(*output));
    return results;
  }
  DType dtype_of_result(size_t i) const { return originals_[i].dtype(); }

 private:
  CallCopy copy_;
  std::vector<Tensor> originals_;
};

/// Milliseconds that body() takes, on `device`.
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

double time_candidate(const ErasedCandidate& candidate, const ScratchCall& scratch, Device device,
                      int repetitions) {
  const SpanScope span(candidate.name, SpanKind::kAlgorithm);
  const Storage workspace(candidate.workspace_bytes, device);
  const double total = elapsed_ms(device, [&] {
    for (int i = 0; i < repetitions; ++i) candidate.run(scratch.get(), workspace.data());
  });
  return total / repetitions;
}

/// How far `actual` is from `expected`, at worst, relative to each element plus the root of their mean
/// square.
template <class T>
double error_of(std::span<const T> actual, std::span<const T> expected) {
  double square_sum = 0;
  for (const T value : expected) square_sum += double(value) * double(value);
  const double magnitude = std::sqrt(square_sum / double(expected.size()));
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto a = double(actual[i]), e = double(expected[i]);
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    const double error = std::fabs(a - e) / (std::fabs(e) + (std::isfinite(magnitude) ? magnitude : 0));
    worst = std::max(worst, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  }
  return worst;
}

/// Algorithms round differently, and how much depends on sizes that are not known here. But an algorithm
/// whose result has not even half of its digits right is wrong.
double tolerance_of(DType dtype, double candidate_epsilon) {
  if (!is_floating_point(dtype)) return 0;
  const double epsilon = dtype == kFloat64   ? 0x1p-52
                         : dtype == kFloat32 ? 0x1p-23
                         : dtype == kFloat16 ? 0x1p-10
                                             : 0x1p-7;
  return std::sqrt(std::max(epsilon, candidate_epsilon));
}

/// The bits of a comparison, as of y > 0, may differ where rounding decides it.
constexpr double kUndecidedBits = 1e-3;

double share_of_differing_bits(std::span<const std::byte> actual, std::span<const std::byte> expected) {
  size_t differing = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    differing += size_t(std::popcount(std::to_integer<uint8_t>(actual[i] ^ expected[i])));
  return double(differing) / double(8 * expected.size());
}

/// Why `actual` cannot be right where the reference gives `expected`; empty if it can.
std::string difference(std::span<const std::byte> actual, std::span<const std::byte> expected, DType dtype,
                       double candidate_epsilon, const std::string& reference) {
  if (dtype == kUInt8 && !expected.empty()) {
    const double share = share_of_differing_bits(actual, expected);
    if (share <= kUndecidedBits) return {};
    return fmt::format("wrong result: {:.2g} of the bits differ from {}'s, allowed {:.2g}", share, reference,
                       kUndecidedBits);
  }
  const double error = dispatch(dtype, [&]<class T>() {
    const size_t count = expected.size() / sizeof(T);
    return error_of(std::span(reinterpret_cast<const T*>(actual.data()), count),
                    std::span(reinterpret_cast<const T*>(expected.data()), count));
  });
  const double allowed = tolerance_of(dtype, candidate_epsilon);
  if (error <= allowed) return {};
  return fmt::format("wrong result: relative error {:.2g} against {}, allowed {:.2g}", error, reference,
                     allowed);
}

/// Calls body(); returns why the candidate is out of the question, or nothing.
template <class Body>
std::string reason_to_reject(Body&& body) {
  try {
    return body();
  } catch (const OutOfMemoryError&) {
    return "out of memory";
  } catch (const Error& error) {
    return error.what();
  }
}

double median(std::vector<double> values) {
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + ptrdiff_t(middle), values.end());
  return values[middle];
}

/// A candidate's way through the rounds.
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

/// Compares the candidates' results with the reference's: all, or those that always are.
void verify_candidates(const ScratchCall& scratch, std::span<const ErasedCandidate> candidates, Device device,
                       bool all, std::vector<AlgorithmTiming>& timings) {
  const auto is_verified = [&](const ErasedCandidate& candidate) {
    return !candidate.is_reference && (all || candidate.always_verified);
  };
  if (std::none_of(candidates.begin(), candidates.end(), is_verified)) return;
  const auto reference =
      std::find_if(candidates.begin(), candidates.end(),
                   [](const ErasedCandidate& candidate) { return candidate.is_reference; });
  std::vector<std::vector<std::byte>> expected;
  const std::string failed = reason_to_reject([&] {
    time_candidate(*reference, scratch, device, 1);
    expected = scratch.results();
    return std::string();
  });
  if (!failed.empty()) return;  // nothing to compare with
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!is_verified(candidates[i])) continue;
    timings[i].rejected = reason_to_reject([&] {
      scratch.restore();
      time_candidate(candidates[i], scratch, device, 1);
      const auto actual = scratch.results();
      std::string found;
      for (size_t k = 0; k < actual.size() && found.empty(); ++k)
        found = difference(actual[k], expected[k], scratch.dtype_of_result(k), candidates[i].epsilon,
                           reference->name);
      timings[i].is_wrong = !found.empty();
      return found;
    });
  }
}

}  // namespace

std::vector<AlgorithmTiming> measure(const ErasedCall& call, std::span<const ErasedCandidate> candidates,
                                     Device device, bool verify) {
  const OpScope scope("algorithm_cache");
  std::optional<gpu::DeviceGuard> guard;  // events belong to the current device
  if (device.is_cuda()) guard.emplace(device.index);
  const ScratchCall scratch(call);
  std::vector<AlgorithmTiming> timings;
  for (const ErasedCandidate& candidate : candidates)
    timings.push_back({.name = candidate.name, .median_ms = 0, .rejected = {}});
  verify_candidates(scratch, candidates, device, verify, timings);

  std::vector<Runner> runners(candidates.size());
  double best = std::numeric_limits<double>::infinity();
  for (size_t round = 0; round < kMostRounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      Runner& runner = runners[i];
      if (!timings[i].rejected.empty() || !runner.runs_again(best)) continue;
      timings[i].rejected = reason_to_reject([&] {
        if (round == 0) {  // the first run fills caches and finds memory
          double first = time_candidate(candidates[i], scratch, device, 1);
          // On a GPU it may load code, too, or compile it, and a second run tells how long one takes.
          if (device.is_cuda() && first > kShortestMs)
            first = time_candidate(candidates[i], scratch, device, 1);
          runner.repetitions = int(std::clamp(kShortestMs / std::max(first, 1e-6), 1., kMostRepetitions));
        }
        runner.samples.push_back(time_candidate(candidates[i], scratch, device, runner.repetitions));
        return std::string();
      });
      if (!timings[i].rejected.empty()) continue;
      timings[i].median_ms = median(runner.samples);
      best = std::min(best, timings[i].median_ms);
    }
  }
  for (AlgorithmTiming& timing : timings) {
    if (!timing.rejected.empty()) timing.median_ms = 0;
  }
  return timings;
}

}  // namespace taper::detail
