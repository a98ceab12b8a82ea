#include "taper/core/algorithm_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <string_view>

#include "taper/core/algorithm_measure.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/op_scope.h"
#include "taper/core/parallel.h"
#include "taper/core/warning.h"

namespace taper {
namespace {

using detail::ErasedCandidate;

/// Candidates within 3% of the fastest count as equally fast: the one that was expected to be fastest is
/// taken, so that noise does not decide.
constexpr double kNoise = 1.03;

bool can_measure(Device device) {
  if (in_parallel_loop()) return false;
  return device.is_cpu() || !gpu::is_capturing(gpu::current_stream(device.index));
}

/// Of equal names, records could not tell which one is meant.
void check_names(const Problem& problem, const std::vector<ErasedCandidate>& candidates) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      TAPER_CHECK(candidates[i].name != candidates[j].name, "{}: two candidates are called {}", problem.str(),
                  candidates[i].name);
  }
}

AlgorithmRecord unmeasured(const Problem& problem, const std::vector<ErasedCandidate>& candidates) {
  AlgorithmRecord record;
  record.problem = problem.str();
  record.environment = problem.environment();
  for (const ErasedCandidate& candidate : candidates)
    record.candidates.push_back({.name = candidate.name, .median_ms = 0, .rejected = {}});
  return record;
}

/// Empty if all were rejected.
std::string winner_of(const std::vector<AlgorithmTiming>& timings) {
  double best = 0;
  for (const AlgorithmTiming& timing : timings) {
    if (timing.rejected.empty() && (best == 0 || timing.median_ms < best)) best = timing.median_ms;
  }
  for (const AlgorithmTiming& timing : timings) {
    if (timing.rejected.empty() && timing.median_ms <= best * kNoise) return timing.name;
  }
  return {};
}

/// The winner first, then those that were timed, the fastest first, then those that were not; without the
/// rejected ones, unless nothing else is there.
std::vector<ErasedCandidate> ranked_by(const AlgorithmRecord& record,
                                       const std::vector<ErasedCandidate>& candidates) {
  constexpr double kLast = std::numeric_limits<double>::infinity();
  std::vector<std::pair<double, const ErasedCandidate*>> order;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const AlgorithmTiming& timing = record.candidates[i];
    const bool won = timing.name == record.winner;
    if (!won && !timing.rejected.empty()) continue;
    order.emplace_back(won ? -1 : timing.median_ms > 0 ? timing.median_ms : kLast, &candidates[i]);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<ErasedCandidate> ranked;
  ranked.reserve(order.size());
  for (const auto& [ms, candidate] : order) ranked.push_back(*candidate);
  return ranked;
}

bool environment_flag(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

}  // namespace

AlgorithmCache::ChoicePtr AlgorithmCache::find(const Problem& problem, const void* call_type) {
  const std::shared_lock lock(choices_mutex_);
  const auto found = choices_.find(problem);
  if (found == choices_.end()) return nullptr;
  TAPER_CHECK(found->second->call_type == call_type,
              "{}: two types of calls have this problem; name their ops or passes differently",
              problem.str());
  hits_.fetch_add(1, std::memory_order_relaxed);
  return found->second;
}

AlgorithmCache::ChoicePtr AlgorithmCache::decide(const Problem& problem, const void* call_type,
                                                 const detail::ErasedCall& call) {
  const AlgorithmMode mode = mode_;
  const bool by_time = mode == AlgorithmMode::kBenchmark,
             measurable = by_time && can_measure(problem.device());
  std::unique_lock turn(measure_mutex_, std::defer_lock);
  if (measurable) {
    turn.lock();
    if (ChoicePtr choice = find(problem, call_type)) return choice;  // another thread was quicker
  }
  misses_.fetch_add(1, std::memory_order_relaxed);

  const std::vector<ErasedCandidate> candidates = usable_candidates(problem, call, mode);
  AlgorithmRecord record = unmeasured(problem, candidates);
  const bool known = by_time && recall(record);
  if (!known && measurable && candidates.size() > 1) measure(problem, candidates, call, record);
  if (record.winner.empty()) record.winner = candidates.front().name;

  auto choice = std::make_shared<const Choice>(Choice{call_type, ranked_by(record, candidates)});
  // What could not be measured now is not kept: the next call with this problem may be one that can be.
  if (!by_time || known || measurable) {
    if (const auto& chosen = choice->ranked.front().chosen) chosen();
    keep(problem, choice, std::move(record), mode);
  }
  return choice;
}

std::vector<ErasedCandidate> AlgorithmCache::usable_candidates(const Problem& problem,
                                                               const detail::ErasedCall& call,
                                                               AlgorithmMode mode) const {
  std::vector<ErasedCandidate> usable;
  std::string refused;
  const size_t limit = workspace_limit_;
  std::vector<ErasedCandidate> listed = call.candidates();
  check_names(problem, listed);
  for (ErasedCandidate& candidate : listed) {
    if (!candidate.supported) {
      refused += fmt::format("; {}: does not support it", candidate.name);
    } else if (candidate.workspace_bytes > limit) {
      refused += fmt::format("; {}: needs {} bytes of workspace, the limit is {}", candidate.name,
                             candidate.workspace_bytes, limit);
    } else if (mode == AlgorithmMode::kDeterministic && !candidate.deterministic) {
      refused += fmt::format("; {}: is not deterministic", candidate.name);
    } else {
      usable.push_back(std::move(candidate));
    }
  }
  TAPER_CHECK(!usable.empty(), "{}: no algorithm can compute this{}", problem.str(), refused);
  usable.front().is_reference = true;
  std::stable_sort(usable.begin(), usable.end(),
                   [](const ErasedCandidate& a, const ErasedCandidate& b) { return a.cost < b.cost; });
  return usable;
}

void AlgorithmCache::measure(const Problem& problem, const std::vector<ErasedCandidate>& candidates,
                             const detail::ErasedCall& call, AlgorithmRecord& record) {
  const auto start = std::chrono::steady_clock::now();
  const bool verify = verify_;
  try {
    record.candidates = detail::measure(call, candidates, problem.device(), verify);
  } catch (const OutOfMemoryError&) {
    return;  // not even for copies of the results: the estimates decide
  }
  record.verified = verify;
  record.winner = winner_of(record.candidates);
  for (const AlgorithmTiming& timing : record.candidates) {
    if (!timing.is_wrong) continue;
    struck_off_.fetch_add(1, std::memory_order_relaxed);
    warn(fmt::format("{}: {} is struck off: {}", record.problem, timing.name, timing.rejected));
  }
  benchmarked_.fetch_add(1, std::memory_order_relaxed);
  benchmark_ns_.fetch_add((std::chrono::steady_clock::now() - start).count(), std::memory_order_relaxed);
  if (!record.winner.empty()) remember(record);
}

bool AlgorithmCache::recall(AlgorithmRecord& record) {
  const std::lock_guard lock(measured_mutex_);
  if (!file_read_) {
    file_read_ = true;
    try {
      measured_.merge(file_.read());
    } catch (const FileError& error) {
      warn(error.what());
      file_ = AlgorithmFile();
    }
  }
  const auto found = measured_.find(record.key());
  if (found == measured_.end() || (verify_ && !found->second.verified)) return false;
  record = found->second;
  recalled_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void AlgorithmCache::remember(const AlgorithmRecord& record) {
  const std::lock_guard lock(measured_mutex_);
  measured_[record.key()] = record;
  try {
    // What other processes have measured meanwhile comes along.
    AlgorithmTable all = file_.add(record);
    measured_.merge(all);
  } catch (const FileError& error) {
    warn(fmt::format("{}; measurements are kept in memory", error.what()));
    file_ = AlgorithmFile();
  }
}

void AlgorithmCache::keep(const Problem& problem, const ChoicePtr& choice, AlgorithmRecord record,
                          AlgorithmMode mode) {
  const std::unique_lock lock(choices_mutex_);
  if (mode_ != mode) return;  // the mode has changed meanwhile
  choices_[problem] = choice;
  std::string key = record.key();
  decisions_[std::move(key)] = std::move(record);
}

void AlgorithmCache::run_choice(const ChoicePtr& choice, const Problem& problem, const void* call) {
  for (const ErasedCandidate& candidate : choice->ranked) {
    const bool is_last = &candidate == &choice->ranked.back();
    std::optional<Storage> workspace;
    try {
      if (candidate.workspace_bytes > 0) workspace.emplace(candidate.workspace_bytes, problem.device());
    } catch (const OutOfMemoryError&) {
      if (is_last) throw;
      fallbacks_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    try {
      const SpanScope span(candidate.name, SpanKind::kAlgorithm);
      return candidate.run(call, workspace ? workspace->data() : nullptr);
    } catch (const AlgorithmFailed& error) {
      if (is_last) throw;
      strike_off(problem, candidate.name, error.what());
    }
  }
}

void AlgorithmCache::strike_off(const Problem& problem, const std::string& name, const std::string& why) {
  const std::string text = problem.str();
  std::function<void()> next_is_chosen;
  {
    const std::unique_lock lock(choices_mutex_);
    const auto found = choices_.find(problem);
    if (found != choices_.end()) {
      Choice rest = *found->second;
      if (std::erase_if(rest.ranked, [&](const auto& candidate) { return candidate.name == name; }) == 0)
        return;  // another thread met the same failure
      if (!rest.ranked.empty()) next_is_chosen = rest.ranked.front().chosen;
      found->second = std::make_shared<const Choice>(std::move(rest));
      for (auto& [key, record] : decisions_) {
        if (record.problem != text || found->second->ranked.empty()) continue;
        record.winner = found->second->ranked.front().name;
        for (AlgorithmTiming& timing : record.candidates)
          if (timing.name == name) timing.rejected = why;
      }
    }
  }
  if (next_is_chosen) next_is_chosen();
  struck_off_.fetch_add(1, std::memory_order_relaxed);
  warn(fmt::format("{}: {} is struck off: {}", text, name, why));
}

void AlgorithmCache::set_mode(AlgorithmMode mode) {
  const std::unique_lock lock(choices_mutex_);
  mode_ = mode;
  choices_.clear();
  decisions_.clear();
}

void AlgorithmCache::set_file(const std::string& path) {
  const std::lock_guard lock(measured_mutex_);
  file_ = AlgorithmFile(path);
  file_read_ = false;
}

PlanStore AlgorithmCache::plans() const {
  const std::lock_guard lock(measured_mutex_);
  if (file_.path().empty()) return PlanStore();
  return PlanStore((std::filesystem::path(file_.path()).parent_path() / "plans").string());
}

void AlgorithmCache::clear() {
  {
    const std::unique_lock lock(choices_mutex_);
    choices_.clear();
    decisions_.clear();
  }
  const std::lock_guard lock(measured_mutex_);
  measured_.clear();
  file_read_ = false;
}

AlgorithmStatistics AlgorithmCache::statistics() const {
  return {.hits = hits_,
          .misses = misses_,
          .recalled = recalled_,
          .benchmarked = benchmarked_,
          .struck_off = struck_off_,
          .fallbacks = fallbacks_,
          .benchmark_seconds = double(benchmark_ns_) * 1e-9};
}

std::vector<AlgorithmRecord> AlgorithmCache::decisions() const {
  const std::shared_lock lock(choices_mutex_);
  std::vector<AlgorithmRecord> records;
  for (const auto& [key, record] : decisions_) records.push_back(record);
  return records;
}

AlgorithmCache& algorithm_cache() {
  // Never destroyed: ops may run while other static objects are.
  static AlgorithmCache& cache = []() -> AlgorithmCache& {
    auto& created = *new AlgorithmCache;
    created.set_file(default_algorithm_file());
    created.set_verify(environment_flag("TAPER_VERIFY_ALGORITHMS"));
    return created;
  }();
  return cache;
}

}  // namespace taper
