#include "taper/ops/vendor/library_algorithms.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

#include "taper/core/base/warning.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper::ops {
namespace {

/// An engine whose plan is made at the first need: loaded from what another process kept, or built.
class LazyPlan {
 public:
  LazyPlan(std::shared_ptr<EngineLibrary> library, Engine engine, std::string key)
      : library_(std::move(library)), engine_(std::move(engine)), key_(std::move(key)) {}

  void run(const EngineOperands& operands, void* workspace) {
    made().run(operands, workspace);
    if (engine_.compiles) note([this] { has_run_ = true; });
  }

  /// Returns the plan, made now if necessary.
  const EnginePlan& made() {
    if (const EnginePlan* const plan = made_.load(std::memory_order_acquire)) return *plan;
    const std::lock_guard lock(mutex_);
    if (plan_ == nullptr && engine_.compiles) plan_ = load();
    if (plan_ == nullptr) plan_ = engine_.build();
    made_.store(plan_.get(), std::memory_order_release);
    return *plan_;
  }

  /// Marks the plan as worth keeping, if it runs.
  void set_chosen() {
    note([this] { is_chosen_ = true; });
  }

 private:
  template <class Change>
  void note(Change&& change) {
    const std::lock_guard lock(mutex_);
    change();
    if (is_chosen_ && has_run_ && !is_kept_) keep();
  }

  std::unique_ptr<EnginePlan> load() {
    const PlanStore store = algorithm_cache().plans();
    const std::optional<std::string> bytes = store.find(key_);
    if (!bytes) return nullptr;
    try {
      auto plan = library_->load(*bytes);
      is_kept_ = true;
      return plan;
    } catch (const Error& error) {
      store.set_aside(key_, error.what());
      return nullptr;
    }
  }

  void keep() {
    is_kept_ = true;  // even on failure, so that it is tried once
    try {
      algorithm_cache().plans().keep(key_, plan_->serialized());
    } catch (const Error& error) {
      warn(fmt::format("{}; other processes will make the plan again", error.what()));
    }
  }

  const std::shared_ptr<EngineLibrary> library_;
  const Engine engine_;
  const std::string key_;
  std::atomic<const EnginePlan*> made_{nullptr};
  std::mutex mutex_;  // for the members below
  std::unique_ptr<EnginePlan> plan_;
  bool has_run_ = false, is_chosen_ = false, is_kept_ = false;
};

std::vector<Engine> engines_for(EngineLibrary& library, const EnginePattern& pattern,
                                const Problem& problem) {
  try {
    return library.engines(pattern);
  } catch (const Error& error) {
    warn(fmt::format("{}: {}; Taper's own kernels take over", problem.str(), error.what()));
    return {};
  }
}

}  // namespace

std::vector<Algorithm> library_algorithms(const EnginePattern& pattern, const Problem& problem, double rank) {
  const bool is_product = std::holds_alternative<BlasGemm>(pattern);
  const auto library = engine_library(is_product ? VendorLibrary::kCublaslt : VendorLibrary::kCudnn);
  if (library == nullptr) return {};
  const int device = problem.device().index;
  const gpu::DeviceGuard guard(device);
  const std::string prefix = fmt::format("{}\n{}\n", problem.str(), problem.environment());
  std::vector<Algorithm> algorithms;
  for (Engine& engine : engines_for(*library, pattern, problem)) {
    Algorithm algorithm = engine.algorithm;
    algorithm.name = library->name() + " " + algorithm.name;
    algorithm.rank = rank + std::min(double(algorithms.size()) * 1e-3, 0.19);
    const auto plan = std::make_shared<LazyPlan>(library, engine, prefix + algorithm.name);
    algorithm.run = [plan](const EngineOperands& operands, void* workspace) {
      const gpu::DeviceGuard of_operands(operands.device().index);
      plan->run(operands, workspace);
    };
    algorithm.prepare = [plan, device] {
      const gpu::DeviceGuard of_thread(device);
      plan->made();
    };
    if (engine.compiles) algorithm.chosen = [plan] { plan->set_chosen(); };
    algorithms.push_back(std::move(algorithm));
  }
  return algorithms;
}

}  // namespace taper::ops
