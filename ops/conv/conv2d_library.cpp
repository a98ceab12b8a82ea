#include "taper/ops/conv/conv2d_library.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "taper/core/algorithm_cache.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/warning.h"
#include "taper/ops/conv/conv_library.h"

namespace taper::ops {
namespace {

/// An engine whose plan is made when it is first needed: of what another process has kept, or built.
class LazyPlan {
 public:
  LazyPlan(std::shared_ptr<ConvLibrary> library, ConvEngine engine, std::string key)
      : library_(std::move(library)), engine_(std::move(engine)), key_(std::move(key)) {}

  void run(const ConvPointers& pointers, void* workspace) {
    made().run(pointers, workspace);
    const std::lock_guard lock(mutex_);
    has_run_ = true;
    if (chosen_) keep();
  }

  /// From now on it is worth keeping, if it runs.
  void set_chosen() {
    const std::lock_guard lock(mutex_);
    chosen_ = true;
    if (has_run_) keep();
  }

 private:
  const ConvEnginePlan& made() {
    const std::lock_guard lock(mutex_);
    if (plan_ == nullptr && engine_.compiles) plan_ = load();
    if (plan_ == nullptr) plan_ = engine_.build();
    return *plan_;
  }

  std::unique_ptr<ConvEnginePlan> load() {
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

  const std::shared_ptr<ConvLibrary> library_;
  const ConvEngine engine_;
  const std::string key_;
  std::mutex mutex_;  // for what is below
  std::unique_ptr<ConvEnginePlan> plan_;
  bool has_run_ = false, chosen_ = false, is_kept_ = false;
};

/// Whether a library is worth asking: what is f64 or empty is not for it.
bool is_for_libraries(const Conv2dCall& call) {
  return call.result.dtype() != kFloat64 && call.first.numel() > 0 && call.second.numel() > 0;
}

std::vector<ConvEngine> engines_for(ConvLibrary& library, const Conv2dCall& call) {
  try {
    return library.engines(ConvPattern::of(call));
  } catch (const Error& error) {
    warn(fmt::format("{}: {}; Taper's own kernels take over", call.problem().str(), error.what()));
    return {};
  }
}

}  // namespace

std::vector<Candidate<Conv2dCall>> conv2d_library_candidates(const Conv2dCall& call) {
  const std::shared_ptr<ConvLibrary> library = is_for_libraries(call) ? conv_library() : nullptr;
  if (library == nullptr) return {};
  const gpu::DeviceGuard guard(call.result.device().index);
  const std::string problem = fmt::format("{}\n{}", call.problem().str(), call.problem().environment());
  std::vector<Candidate<Conv2dCall>> candidates;
  for (ConvEngine& engine : engines_for(*library, call)) {
    std::string name = library->name() + " " + engine.name;
    const auto plan = std::make_shared<LazyPlan>(library, engine, fmt::format("{}\n{}", problem, name));
    candidates.push_back({.name = std::move(name),
                          .workspace_bytes = engine.workspace_bytes,
                          .deterministic = engine.deterministic,
                          .cost = std::min(1.2 + 1e-3 * double(candidates.size()), 1.8),
                          .epsilon = engine.rounds_to_tf32 ? kTf32Epsilon : 0,
                          .run =
                              [plan](const Conv2dCall& conv, void* workspace) {
                                const gpu::DeviceGuard device(conv.result.device().index);
                                plan->run(ConvPointers::of(conv), workspace);
                              },
                          .chosen = [plan] { plan->set_chosen(); }});
  }
  return candidates;
}

}  // namespace taper::ops
