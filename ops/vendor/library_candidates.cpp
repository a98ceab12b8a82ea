#include "taper/ops/vendor/library_candidates.h"

#include <mutex>
#include <optional>

#include "taper/core/base/warning.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper::ops {
namespace {

/// An engine whose plan is made when it is first needed: of what another process has kept, or built.
class LazyPlan {
 public:
  LazyPlan(std::shared_ptr<EngineLibrary> library, Engine engine, std::string key)
      : library_(std::move(library)), engine_(std::move(engine)), key_(std::move(key)) {}

  void run(const EngineOperands& operands, void* workspace) {
    made().run(operands, workspace);
    const std::lock_guard lock(mutex_);
    has_run_ = true;
    if (chosen_) keep();
  }

  /// Makes it now, unless it is made.
  void prepare() { made(); }

  /// From now on it is worth keeping, if it runs.
  void set_chosen() {
    const std::lock_guard lock(mutex_);
    chosen_ = true;
    if (has_run_) keep();
  }

 private:
  const EnginePlan& made() {
    const std::lock_guard lock(mutex_);
    if (plan_ == nullptr && engine_.compiles) plan_ = load();
    if (plan_ == nullptr) plan_ = engine_.build();
    return *plan_;
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
    if (!engine_.compiles || is_kept_) return;
    is_kept_ = true;  // also if that fails, so that it is tried once
    try {
      algorithm_cache().plans().keep(key_, plan_->serialized());
    } catch (const Error& error) {
      warn(fmt::format("{}; other processes will make the plan again", error.what()));
    }
  }

  const std::shared_ptr<EngineLibrary> library_;
  const Engine engine_;
  const std::string key_;
  std::mutex mutex_;  // for what is below
  std::unique_ptr<EnginePlan> plan_;
  bool has_run_ = false, chosen_ = false, is_kept_ = false;
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

std::vector<LazyEngine> library_engines(const EnginePattern& pattern, const Problem& problem) {
  const std::shared_ptr<EngineLibrary> library = engine_library();
  if (library == nullptr) return {};
  const gpu::DeviceGuard guard(problem.device().index);
  const std::string prefix = fmt::format("{}\n{}\n", problem.str(), problem.environment());
  std::vector<LazyEngine> engines;
  for (Engine& engine : engines_for(*library, pattern, problem)) {
    std::string name = library->name() + " " + engine.name;
    const auto plan = std::make_shared<LazyPlan>(library, engine, prefix + name);
    engines.push_back({.name = std::move(name),
                       .workspace_bytes = engine.workspace_bytes,
                       .deterministic = engine.deterministic,
                       .rounds_to_tf32 = engine.rounds_to_tf32,
                       .run =
                           [plan](const EngineOperands& operands, void* workspace) {
                             const gpu::DeviceGuard device(operands.device().index);
                             plan->run(operands, workspace);
                           },
                       .prepare =
                           [plan, device = problem.device().index] {
                             const gpu::DeviceGuard guard_of_thread(device);
                             plan->prepare();
                           },
                       .chosen = [plan] { plan->set_chosen(); }});
  }
  return engines;
}

}  // namespace taper::ops
