#include "taper/ops/algorithms/algorithm_cache.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>
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

/// A library that runs on a lost device says no more than that it failed. Throws DeviceLostError if it was
/// that.
void tell_refusal_from_loss(Device device) {
  if (device.is_cuda()) gpu::memory_info(device.index);
}

/// Of equal names, records could not tell which one is meant; and a name is a line of a report.
void check_names(const Problem& problem, const std::vector<ErasedCandidate>& candidates) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    TAPER_CHECK(!candidates[i].name.empty() && is_printable(candidates[i].name),
                "{}: the name of candidate {} is empty or has control characters", problem.str(), i);
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

/// Empty if none was measured.
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

/// The words between commas, without the spaces around them; null has none.
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
                                                               AlgorithmMode mode) {
  std::vector<ErasedCandidate> usable;
  std::string refused;
  std::vector<ErasedCandidate> listed = call.candidates();
  check_names(problem, listed);
  const std::vector<AlgorithmFault> faults = mode == AlgorithmMode::kBenchmark || problem.device().is_cuda()
                                                 ? faults_of(problem)
                                                 : std::vector<AlgorithmFault>();
  const auto fault_of = [&](const ErasedCandidate& candidate) -> const AlgorithmFault* {
    const auto found = std::find_if(faults.begin(), faults.end(), [&](const AlgorithmFault& fault) {
      return fault.algorithm == candidate.name;
    });
    return found == faults.end() ? nullptr : &*found;
  };
  for (ErasedCandidate& candidate : listed) {
    std::string reason = reason_to_refuse(candidate, mode);
    const bool is_plainest = usable.empty();
    if (const AlgorithmFault* const fault = fault_of(candidate)) {
      candidate.is_suspected = fault->suspected;
      if (reason.empty() && !is_plainest && !fault->suspected) reason = fault->what;
    }
    if (reason.empty()) {
      usable.push_back(std::move(candidate));
    } else {
      refused += fmt::format("; {}: {}", candidate.name, reason);
    }
  }
  TAPER_CHECK(!usable.empty(), "{}: no algorithm can compute this{}", problem.str(), refused);
  usable.front().is_reference = true;
  std::stable_sort(usable.begin(), usable.end(),
                   [](const ErasedCandidate& a, const ErasedCandidate& b) { return a.cost < b.cost; });
  return usable;
}

std::string AlgorithmCache::reason_to_refuse(const ErasedCandidate& candidate, AlgorithmMode mode) const {
  if (!candidate.supported) return "does not support it";
  const size_t limit = workspace_limit_;
  if (candidate.workspace_bytes > limit)
    return fmt::format("needs {} bytes of workspace, the limit is {}", candidate.workspace_bytes, limit);
  if (mode == AlgorithmMode::kDeterministic && !candidate.deterministic) return "is not deterministic";
  const std::lock_guard lock(limits_mutex_);
  for (const std::string& word : denied_)
    if (candidate.name.find(word) != std::string::npos) return fmt::format("is denied (\"{}\")", word);
  return {};
}

void AlgorithmCache::measure(const Problem& problem, const std::vector<ErasedCandidate>& candidates,
                             const detail::ErasedCall& call, AlgorithmRecord& record) {
  const double seconds = seconds_allowed();
  if (seconds == 0) {
    unmeasured_.fetch_add(1, std::memory_order_relaxed);
    return;  // the estimates decide
  }
  AlgorithmTrials trials(file_path());
  const auto attempt = [&](const ErasedCandidate& candidate, bool for_the_first_time,
                           const std::function<void()>& body) {
    const AlgorithmFault trial = {.problem = record.problem,
                                  .environment = record.environment,
                                  .algorithm = candidate.name,
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
      remember(AlgorithmFault{trial.problem, trial.environment, trial.algorithm, error.what()});
      fail<DeviceLostError>("{}: {} was tried, and {}; it will not be tried again", record.problem,
                            candidate.name, error.what());
    } catch (...) {
      trials.end(trial);
      throw;
    }
    if (for_the_first_time) trials.end(trial);
  };
  const auto start = std::chrono::steady_clock::now();
  const bool verify = verify_;
  try {
    record.candidates = detail::measure(call, candidates, problem.device(),
                                        {.verify = verify, .seconds = seconds, .attempt = attempt});
  } catch (const OutOfMemoryError&) {
    return;  // not even for copies of the results: the estimates decide
  }
  for (const ErasedCandidate& candidate : candidates) {
    if (candidate.is_suspected) acquit({record.problem, record.environment, candidate.name, ""});
  }
  record.verified = verify;
  const auto left_out = std::count_if(record.candidates.begin(), record.candidates.end(),
                                      [](const AlgorithmTiming& timing) { return timing.left_out; });
  if (left_out > 0) record.seconds_allowed = seconds;
  left_out_.fetch_add(left_out, std::memory_order_relaxed);
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

double AlgorithmCache::seconds_allowed() const {
  const std::lock_guard lock(limits_mutex_);
  const double spent = double(benchmark_ns_ - benchmark_ns_before_limits_) * 1e-9;
  const double left = limits_.seconds_in_all - spent;
  if (left <= 0) return 0;
  // A tenth of what is left, so that there is some for the problems to come.
  return std::min(left / 10, limits_.seconds_per_problem);
}

bool AlgorithmCache::recall(AlgorithmRecord& record) {
  const double seconds = seconds_allowed();
  const std::lock_guard lock(measured_mutex_);
  read_file();
  const auto found = measured_.find(record.key());
  if (found == measured_.end() || (verify_ && !found->second.verified)) return false;
  // Who allows more time than was too short then gets the rest measured.
  if (const double was_allowed = found->second.seconds_allowed; was_allowed > 0 && seconds > was_allowed)
    return false;
  record = found->second;
  recalled_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

template <class Change>
void AlgorithmCache::use_file(Change&& change) {
  try {
    change();
  } catch (const FileError& error) {
    warn(fmt::format("{}; measurements are kept in memory", error.what()));
    file_ = AlgorithmFile();
  }
}

void AlgorithmCache::read_file() {
  if (file_read_) return;
  file_read_ = true;
  use_file([&] {
    measured_.merge(file_.read());
    const std::vector<AlgorithmFault> trials = unfinished_trials(file_.path());
    for (const AlgorithmFault& trial : trials) file_.add(trial);
    faults_ = file_.faults();
    for (const AlgorithmFault& trial : trials) warn_of(trial);
  });
}

void AlgorithmCache::warn_of(const AlgorithmFault& trial) const {
  const bool suspected = std::any_of(faults_.begin(), faults_.end(), [&](const AlgorithmFault& fault) {
    return fault.suspected && fault.is_of_same(trial);
  });
  warn(suspected ? fmt::format("{}: a process ended while it tried {}, which is tried once more",
                               trial.problem, trial.algorithm)
                 : fmt::format("{}: {} {}; others take its place (taper-algorithms --forget-faults)",
                               trial.problem, trial.algorithm, trial.what));
}

void AlgorithmCache::acquit(const AlgorithmFault& fault) {
  const std::lock_guard lock(measured_mutex_);
  std::erase_if(faults_, [&](const AlgorithmFault& other) { return other.is_of_same(fault); });
  use_file([&] { file_.clear_suspicion(fault); });
}

std::vector<AlgorithmFault> AlgorithmCache::faults_of(const Problem& problem) {
  const std::lock_guard lock(measured_mutex_);
  read_file();
  std::vector<AlgorithmFault> faults;
  if (faults_.empty()) return faults;
  const std::string text = problem.str(), environment = problem.environment();
  std::copy_if(faults_.begin(), faults_.end(), std::back_inserter(faults), [&](const AlgorithmFault& fault) {
    return fault.problem == text && fault.environment == environment;
  });
  return faults;
}

void AlgorithmCache::remember(const AlgorithmFault& fault) {
  const std::lock_guard lock(measured_mutex_);
  faults_.push_back(fault);
  use_file([&] { file_.add(fault); });
}

void AlgorithmCache::remember(const AlgorithmRecord& record) {
  const std::lock_guard lock(measured_mutex_);
  measured_[record.key()] = record;
  const auto may_pass = [](const AlgorithmTiming& timing) { return timing.may_pass; };
  if (std::any_of(record.candidates.begin(), record.candidates.end(), may_pass)) return;
  use_file([&] {
    // What other processes have measured meanwhile comes along.
    AlgorithmTable all = file_.add(record);
    measured_.merge(all);
  });
}

void AlgorithmCache::keep(const Problem& problem, const ChoicePtr& choice, AlgorithmRecord record,
                          AlgorithmMode mode) {
  const std::unique_lock lock(choices_mutex_);
  if (mode_ != mode) return;  // the mode has changed meanwhile
  choices_[problem] = choice;
  std::vector<std::string> key = record.key();
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
      tell_refusal_from_loss(problem.device());
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

std::string AlgorithmCache::file_path() const {
  const std::lock_guard lock(measured_mutex_);
  return file_.path();
}

PlanStore AlgorithmCache::plans() {
  const std::lock_guard lock(measured_mutex_);
  read_file();  // which finds out whether its folder can be trusted
  const std::string& path = file_.path();
  if (path.empty()) return PlanStore();
  return PlanStore((std::filesystem::path(path).parent_path() / "plans").string());
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
  const std::lock_guard lock(measured_mutex_);
  measured_.clear();
  faults_.clear();
  file_read_ = false;
}

AlgorithmStatistics AlgorithmCache::statistics() const {
  return {.hits = hits_,
          .misses = misses_,
          .recalled = recalled_,
          .benchmarked = benchmarked_,
          .struck_off = struck_off_,
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
  // Never destroyed: ops may run while other static objects are.
  static AlgorithmCache& cache = []() -> AlgorithmCache& {
    auto& created = *new AlgorithmCache;
    created.set_file(default_algorithm_file());
    created.set_verify(environment_flag("TAPER_VERIFY_ALGORITHMS"));
    created.set_denied(words_in(std::getenv("TAPER_ALGORITHM_DENY")));
    // A child of fork() finds the lock free that every op takes. It cannot unlock what its parent's thread
    // has locked (core/base/fork.h does that for simpler locks), so it makes a new one in that place.
    pthread_atfork([] { algorithm_cache().choices_mutex_.lock(); },
                   [] { algorithm_cache().choices_mutex_.unlock(); },
                   [] { new (&algorithm_cache().choices_mutex_) std::shared_mutex; });
    return created;
  }();
  return cache;
}

}  // namespace taper
