#include "taper/ops/algorithms/algorithm_memory.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"
#include "taper/ops/algorithms/algorithm_trials.h"

namespace taper {

template <class Change>
void AlgorithmMemory::use_file(Change&& change) {
  try {
    change();
  } catch (const FileError& error) {
    warn(fmt::format("{}; measurements are kept in memory", error.what()));
    file_ = AlgorithmFile();
  }
}

void AlgorithmMemory::set_file(const std::string& path) {
  const std::lock_guard lock(mutex_);
  file_ = AlgorithmFile(path);
  file_read_ = false;
}

std::string AlgorithmMemory::file_path() const {
  const std::lock_guard lock(mutex_);
  return file_.path();
}

PlanStore AlgorithmMemory::plans() {
  const std::lock_guard lock(mutex_);
  read_file();  // finds out whether its folder can be trusted
  const std::string& path = file_.path();
  if (path.empty()) return PlanStore();
  return PlanStore((std::filesystem::path(path).parent_path() / "plans").string());
}

void AlgorithmMemory::clear() {
  const std::lock_guard lock(mutex_);
  measured_.clear();
  faults_.clear();
  file_read_ = false;
}

void AlgorithmMemory::read_file() {
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

void AlgorithmMemory::warn_of(const AlgorithmFault& trial) const {
  const bool suspected = std::any_of(faults_.begin(), faults_.end(), [&](const AlgorithmFault& fault) {
    return fault.suspected && fault.is_of_same(trial);
  });
  warn(suspected ? fmt::format("{}: a process ended while it tried {}, which is tried once more",
                               trial.problem, trial.algorithm)
                 : fmt::format("{}: {} {}; others take its place (taper-algorithms --forget-faults)",
                               trial.problem, trial.algorithm, trial.what));
}

bool AlgorithmMemory::recall(AlgorithmRecord& record, bool verified, double seconds) {
  const std::lock_guard lock(mutex_);
  read_file();
  const auto found = measured_.find(record.key());
  if (found == measured_.end() || (verified && !found->second.verified)) return false;
  // A caller that allows more time than was too short gets the rest measured.
  if (const double was_allowed = found->second.seconds_allowed; was_allowed > 0 && seconds > was_allowed)
    return false;
  record = found->second;
  return true;
}

void AlgorithmMemory::remember(const AlgorithmRecord& record) {
  const std::lock_guard lock(mutex_);
  measured_[record.key()] = record;
  const auto may_pass = [](const AlgorithmTiming& timing) { return timing.may_pass; };
  if (std::any_of(record.candidates.begin(), record.candidates.end(), may_pass)) return;
  use_file([&] {
    // This also brings what other processes have measured meanwhile.
    AlgorithmTable all = file_.add(record);
    measured_.merge(all);
  });
}

std::vector<AlgorithmFault> AlgorithmMemory::faults_of(const Problem& problem) {
  const std::lock_guard lock(mutex_);
  read_file();
  std::vector<AlgorithmFault> faults;
  if (faults_.empty()) return faults;
  const std::string text = problem.str(), environment = problem.environment();
  std::copy_if(faults_.begin(), faults_.end(), std::back_inserter(faults), [&](const AlgorithmFault& fault) {
    return fault.problem == text && fault.environment == environment;
  });
  return faults;
}

void AlgorithmMemory::remember(const AlgorithmFault& fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(fault);
  use_file([&] { file_.add(fault); });
}

void AlgorithmMemory::acquit(const AlgorithmFault& fault) {
  const std::lock_guard lock(mutex_);
  std::erase_if(faults_, [&](const AlgorithmFault& other) { return other.is_of_same(fault); });
  use_file([&] { file_.clear_suspicion(fault); });
}

}  // namespace taper
