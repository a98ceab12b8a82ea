#include "taper/ops/algorithms/algorithm_cache.h"  // spine 27 (docs/0-the-spine.md)

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <sstream>
#include <string_view>

#include "taper/core/base/op_scope.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/core/base/warning.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_measure.h"
#include "taper/ops/algorithms/algorithm_trials.h"

namespace taper {
namespace {

using detail::Candidate;

/// Candidates within 3% of the fastest count as equally fast. Of these the one with the best estimate is
/// taken, so that noise does not decide.
constexpr double kNoise = 1.03;

bool can_measure(Device device) {
  if (in_parallel_loop()) return false;
  return device.is_cpu() || !gpu::is_capturing(gpu::current_stream(device.index));
}

/// Throws Error unless names differ, so that records can tell algorithms apart, and are printable, since a
/// name is a line of a report.
void check_names(const Problem& problem, const std::vector<Algorithm>& listed) {
  for (size_t i = 0; i < listed.size(); ++i) {
    TAPER_CHECK(!listed[i].name.empty() && is_printable(listed[i].name),
                "{}: the name of candidate {} is empty or has control characters", problem.str(), i);
    for (size_t j = 0; j < i; ++j)
      TAPER_CHECK(listed[i].name != listed[j].name, "{}: two candidates are called {}", problem.str(),
                  listed[i].name);
  }
}

AlgorithmRecord unmeasured(const Problem& problem, const std::vector<Candidate>& candidates) {
  AlgorithmRecord record;
  record.problem = problem.str();
  record.environment = problem.environment();
  for (const Candidate& candidate : candidates)
    record.candidates.push_back({.name = candidate.algorithm.name, .median_ms = 0, .rejected = {}});
  return record;
}

/// Returns the fastest; empty if none was measured.
std::string winner_of(const std::vector<AlgorithmTiming>& timings) {
  const auto is_measured = [](const AlgorithmTiming& timing) {
    return timing.rejected.empty() && !timing.left_out;
  };
  double best = 0;
  for (const AlgorithmTiming& timing : timings) {
    if (is_measured(timing) && (best == 0 || timing.median_ms < best)) best = timing.median_ms;
  }
  for (const AlgorithmTiming& timing : timings) {
    if (is_measured(timing) && timing.median_ms <= best * kNoise) return timing.name;
  }
  return {};
}

/// Returns the winner, then the timed candidates by time, then the others. Leaves out the rejected ones
/// unless only they remain.
Ranking ranked_by(const AlgorithmRecord& record, const std::vector<Candidate>& candidates) {
  constexpr double kLast = std::numeric_limits<double>::infinity();
  std::vector<std::pair<double, const Algorithm*>> order;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const AlgorithmTiming& timing = record.candidates[i];
    const bool won = timing.name == record.winner;
    if (!won && !timing.rejected.empty()) continue;
    order.emplace_back(won ? -1 : timing.median_ms > 0 ? timing.median_ms : kLast, &candidates[i].algorithm);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Algorithm> ranked;
  ranked.reserve(order.size());
  for (const auto& [ms, algorithm] : order) ranked.push_back(*algorithm);
  return std::make_shared<const std::vector<Algorithm>>(std::move(ranked));
}

/// Returns the words between commas, without the spaces around them; none for null.
std::vector<std::string> words_in(const char* text) {
  std::vector<std::string> words;
  std::istringstream rest(text == nullptr ? "" : text);
  for (std::string word; std::getline(rest, word, ',');) {
    const size_t begin = word.find_first_not_of(' ');
    if (begin != std::string::npos)
      words.push_back(word.substr(begin, word.find_last_not_of(' ') + 1 - begin));
  }
  return words;
}

bool environment_flag(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

}  // namespace

Ranking AlgorithmCache::find(const Problem& problem, const std::type_info& type) {
  const std::shared_lock lock(choices_mutex_);
  const auto found = choices_.find(problem);
  if (found == choices_.end()) return nullptr;
  TAPER_CHECK(found->second->front().run.takes(type),
              "{}: two types of calls have this problem; name their ops or passes differently",
              problem.str());
  hits_.fetch_add(1, std::memory_order_relaxed);
  return found->second;
}

Ranking AlgorithmCache::choose(const Problem& problem, const std::type_info& type,
                               std::vector<Algorithm> listed, const std::function<CallCopy()>& copy_call) {
  const AlgorithmMode mode = mode_;
  const bool by_time = mode == AlgorithmMode::kBenchmark,
             measurable = by_time && can_measure(problem.device());
  std::unique_lock turn(measure_mutex_, std::defer_lock);
  if (measurable) {
    turn.lock();
    if (Ranking ranking = find(problem, type)) return ranking;  // another thread was faster
  }
  misses_.fetch_add(1, std::memory_order_relaxed);

  check_names(problem, listed);
  const std::vector<Candidate> candidates = usable_candidates(problem, std::move(listed), mode);
  for (const auto& [algorithm, is_reference, is_suspected] : candidates)
    TAPER_CHECK(algorithm.run.takes(type), "{}: {} computes calls of another type", problem.str(),
                algorithm.name);
  AlgorithmRecord record = unmeasured(problem, candidates);
  const bool known = by_time && recall(record);
  if (!known && measurable && candidates.size() > 1) measure(problem, candidates, copy_call, record);
  if (record.winner.empty()) record.winner = candidates.front().algorithm.name;

  const Ranking ranking = ranked_by(record, candidates);
  // A choice made because nothing could be measured is not kept: the next call with this problem may measure.
  if (!by_time || known || measurable) {
    if (const auto& chosen = ranking->front().chosen) chosen();
    keep(problem, ranking, std::move(record), mode);
  }
  return ranking;
}

std::vector<Candidate> AlgorithmCache::usable_candidates(const Problem& problem,
                                                         std::vector<Algorithm> listed, AlgorithmMode mode) {
  std::vector<Candidate> usable;
  std::string refused;
  const std::vector<AlgorithmFault> faults = mode == AlgorithmMode::kBenchmark || problem.device().is_cuda()
                                                 ? memory_.faults_of(problem)
                                                 : std::vector<AlgorithmFault>();
  for (Algorithm& algorithm : listed) {
    std::string reason = reason_to_refuse(algorithm, mode);
    const bool is_plainest = usable.empty();
    const auto fault = std::find_if(faults.begin(), faults.end(), [&](const AlgorithmFault& one) {
      return one.algorithm == algorithm.name;
    });
    const bool is_suspected = fault != faults.end() && fault->suspected;
    if (reason.empty() && fault != faults.end() && !is_suspected && !is_plainest) reason = fault->what;
    if (reason.empty()) {
      usable.push_back({std::move(algorithm), is_plainest, is_suspected});
    } else {
      refused += fmt::format("; {}: {}", algorithm.name, reason);
    }
  }
  TAPER_CHECK(!usable.empty(), "{}: no algorithm can compute this{}", problem.str(), refused);
  std::stable_sort(usable.begin(), usable.end(), [](const Candidate& a, const Candidate& b) {
    return a.algorithm.rank < b.algorithm.rank;
  });
  return usable;
}

std::string AlgorithmCache::reason_to_refuse(const Algorithm& algorithm, AlgorithmMode mode) const {
  if (!algorithm.supported) return "does not support it";
  const size_t limit = workspace_limit_;
  if (algorithm.workspace_bytes > limit)
    return fmt::format("needs {} bytes of workspace, the limit is {}", algorithm.workspace_bytes, limit);
  if (mode == AlgorithmMode::kDeterministic && !algorithm.deterministic) return "is not deterministic";
  const std::lock_guard lock(limits_mutex_);
  for (const std::string& word : denied_)
    if (algorithm.name.find(word) != std::string::npos) return fmt::format("is denied (\"{}\")", word);
  return {};
}

bool AlgorithmCache::recall(AlgorithmRecord& record) {
  if (!memory_.recall(record, verify_, seconds_allowed())) return false;
  recalled_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void AlgorithmCache::measure(const Problem& problem, const std::vector<Candidate>& candidates,
                             const std::function<CallCopy()>& copy_call, AlgorithmRecord& record) {
  const double seconds = seconds_allowed();
  if (seconds == 0) {
    unmeasured_.fetch_add(1, std::memory_order_relaxed);
    return;  // the ranks decide
  }
  AlgorithmTrials trials(file_path());
  const auto attempt = [&](const Algorithm& algorithm, bool for_the_first_time,
                           const std::function<void()>& body) {
    const AlgorithmFault trial = {.problem = record.problem,
                                  .environment = record.environment,
                                  .algorithm = algorithm.name,
                                  .what = "ended two processes that tried it"};
    if (for_the_first_time) trials.begin(trial);
    try {
      try {
        body();
      } catch (const AlgorithmFailed&) {
        tell_refusal_from_loss(problem.device());
        throw;
      }
    } catch (const DeviceLostError& error) {
      memory_.remember(AlgorithmFault{trial.problem, trial.environment, trial.algorithm, error.what()});
      fail<DeviceLostError>("{}: {} was tried, and {}; it will not be tried again", record.problem,
                            algorithm.name, error.what());
    } catch (...) {
      trials.end(trial);
      throw;
    }
    if (for_the_first_time) trials.end(trial);
  };
  const auto start = std::chrono::steady_clock::now();
  const bool verify = verify_;
  try {
    record.candidates = detail::measure(copy_call, candidates, problem.device(),
                                        {.verify = verify, .seconds = seconds, .attempt = attempt});
  } catch (const OutOfMemoryError&) {
    return;  // not even for copies of the results: the ranks decide
  }
  for (const Candidate& candidate : candidates) {
    if (candidate.is_suspected)
      memory_.acquit({record.problem, record.environment, candidate.algorithm.name, ""});
  }
  record.verified = verify;
  const auto left_out = std::count_if(record.candidates.begin(), record.candidates.end(),
                                      [](const AlgorithmTiming& timing) { return timing.left_out; });
  if (left_out > 0) record.seconds_allowed = seconds;
  left_out_.fetch_add(left_out, std::memory_order_relaxed);
  record.winner = winner_of(record.candidates);
  for (const AlgorithmTiming& timing : record.candidates) {
    if (!timing.is_wrong) continue;
    rejected_.fetch_add(1, std::memory_order_relaxed);
    warn(fmt::format("{}: {} is rejected: {}", record.problem, timing.name, timing.rejected));
  }
  benchmarked_.fetch_add(1, std::memory_order_relaxed);
  benchmark_ns_.fetch_add((std::chrono::steady_clock::now() - start).count(), std::memory_order_relaxed);
  if (!record.winner.empty()) memory_.remember(record);
}

double AlgorithmCache::seconds_allowed() const {
  const std::lock_guard lock(limits_mutex_);
  const double spent = double(benchmark_ns_ - benchmark_ns_before_limits_) * 1e-9;
  const double left = limits_.seconds_in_all - spent;
  if (left <= 0) return 0;
  // A tenth of what is left, so that later problems get some.
  return std::min(left / 10, limits_.seconds_per_problem);
}

void AlgorithmCache::keep(const Problem& problem, const Ranking& ranking, AlgorithmRecord record,
                          AlgorithmMode mode) {
  const std::unique_lock lock(choices_mutex_);
  if (mode_ != mode) return;  // the mode has changed meanwhile
  choices_[problem] = ranking;
  std::vector<std::string> key = record.key();
  decisions_[std::move(key)] = std::move(record);
}

bool AlgorithmCache::reserve(const Algorithm& algorithm, Device device, bool is_last,
                             std::optional<Storage>& workspace) {
  try {
    if (algorithm.workspace_bytes > 0) workspace.emplace(algorithm.workspace_bytes, device);
    return true;
  } catch (const OutOfMemoryError&) {
    if (is_last) throw;
    fallbacks_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
}

void AlgorithmCache::tell_refusal_from_loss(Device device) {
  if (device.is_cuda()) gpu::memory_info(device.index);
}

void AlgorithmCache::reject(const Problem& problem, const std::string& name, const std::string& why) {
  const std::string text = problem.str();
  std::function<void()> next_is_chosen;
  {
    const std::unique_lock lock(choices_mutex_);
    const auto found = choices_.find(problem);
    if (found != choices_.end()) {
      std::vector<Algorithm> rest = *found->second;
      if (std::erase_if(rest, [&](const Algorithm& algorithm) { return algorithm.name == name; }) == 0)
        return;  // another thread met the same failure
      // The last of a ranking is never rejected, so there is a next one.
      next_is_chosen = rest.front().chosen;
      for (auto& [key, record] : decisions_) {
        if (record.problem != text) continue;
        record.winner = rest.front().name;
        for (AlgorithmTiming& timing : record.candidates)
          if (timing.name == name) timing.rejected = why;
      }
      found->second = std::make_shared<const std::vector<Algorithm>>(std::move(rest));
    }
  }
  if (next_is_chosen) next_is_chosen();
  rejected_.fetch_add(1, std::memory_order_relaxed);
  warn(fmt::format("{}: {} is rejected: {}", text, name, why));
}

void AlgorithmCache::set_mode(AlgorithmMode mode) {
  const std::unique_lock lock(choices_mutex_);
  mode_ = mode;
  choices_.clear();
  decisions_.clear();
}

void AlgorithmCache::set_denied(std::vector<std::string> words) {
  const std::lock_guard lock(limits_mutex_);
  denied_ = std::move(words);
}

void AlgorithmCache::set_benchmark_limits(const BenchmarkLimits& limits) {
  TAPER_CHECK(limits.seconds_per_problem > 0 && limits.seconds_in_all > 0,
              "set_benchmark_limits: {} seconds a problem and {} in all; both must be positive",
              limits.seconds_per_problem, limits.seconds_in_all);
  const std::lock_guard lock(limits_mutex_);
  limits_ = limits;
  benchmark_ns_before_limits_ = benchmark_ns_;
}

void AlgorithmCache::clear() {
  {
    const std::unique_lock lock(choices_mutex_);
    choices_.clear();
    decisions_.clear();
  }
  memory_.clear();
}

AlgorithmStatistics AlgorithmCache::statistics() const {
  return {.hits = hits_,
          .misses = misses_,
          .recalled = recalled_,
          .benchmarked = benchmarked_,
          .rejected = rejected_,
          .fallbacks = fallbacks_,
          .left_out = left_out_,
          .unmeasured = unmeasured_,
          .benchmark_seconds = double(benchmark_ns_) * 1e-9};
}

std::vector<AlgorithmRecord> AlgorithmCache::decisions() const {
  const std::shared_lock lock(choices_mutex_);
  std::vector<AlgorithmRecord> records;
  for (const auto& [key, record] : decisions_) records.push_back(record);
  return records;
}

AlgorithmCache& algorithm_cache() {
  // Never destroyed: ops may run while other static objects are destroyed.
  static AlgorithmCache& cache = []() -> AlgorithmCache& {
    auto& created = *new AlgorithmCache;
    created.set_file(default_algorithm_file());
    created.set_verify(environment_flag("TAPER_VERIFY_ALGORITHMS"));
    created.set_denied(words_in(std::getenv("TAPER_ALGORITHM_DENY")));
    // A child of fork() must find the lock free, since every op takes it. It cannot unlock what its parent's
    // thread has locked (core/base/fork.h does that for simpler locks), so it makes a new lock in that place.
    pthread_atfork([] { algorithm_cache().choices_mutex_.lock(); },
                   [] { algorithm_cache().choices_mutex_.unlock(); },
                   [] { new (&algorithm_cache().choices_mutex_) std::shared_mutex; });
    return created;
  }();
  return cache;
}

}  // namespace taper
