#pragma once
// A fake library behind ops/vendor/engine_library.h: it offers what a test tells it to offer, logs what it
// was asked for, and computes by a plain kernel that the test brings.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/vendor/engine_library.h"
#include "tests/support/temporary_folder.h"

namespace taper {

struct FakeEngine {
  std::string name = "naive";
  size_t workspace_bytes = 0;
  bool deterministic = true;
  bool compiles = false;
  bool fails_to_build = false;
  bool fails_to_run = false;
  double factor = 1;  ///< 1: correct results
};

/// What the library was asked for and did, shared by all of its plans.
struct FakeState {
  /// Enqueues the pattern's operation, with results that are `factor` times too large.
  using Compute = std::function<void(const ops::EnginePattern& pattern, const ops::EngineOperands& operands,
                                     double factor)>;

  explicit FakeState(Compute compute_) : compute(std::move(compute_)) {}

  Compute compute;
  std::string library_name = "fakednn 1.0";
  std::vector<FakeEngine> offers = {{}};
  bool fails = false;  ///< when it is asked for engines
  bool refuses_to_load = false;
  std::vector<ops::EnginePattern> asked;
  std::vector<std::string> log;  ///< "build naive", "load naive", "run naive"
  std::mutex log_mutex;          ///< plans are built on several threads

  void add(const std::string& line) {
    const std::lock_guard lock(log_mutex);
    log.push_back(line);
  }

  int count(const std::string& what) const { return int(std::count(log.begin(), log.end(), what)); }
};

struct FakePlan final : ops::EnginePlan {
  FakePlan(std::shared_ptr<FakeState> state_, FakeEngine engine_, ops::EnginePattern pattern_)
      : state(std::move(state_)), engine(std::move(engine_)), pattern(std::move(pattern_)) {}

  void run(const ops::EngineOperands& operands, void* workspace) const override {
    if (engine.fails_to_run) fail<AlgorithmFailed>("fakednn: not supported");
    REQUIRE((workspace != nullptr) == (engine.workspace_bytes > 0));
    state->add("run " + engine.name);
    state->compute(pattern, operands, engine.factor);
  }
  std::string serialized() const override { return "plan of " + engine.name; }

  std::shared_ptr<FakeState> state;
  FakeEngine engine;
  ops::EnginePattern pattern;
};

struct FakeLibrary final : ops::EngineLibrary {
  explicit FakeLibrary(std::shared_ptr<FakeState> state_) : state(std::move(state_)) {}

  std::string name() const override { return state->library_name; }
  std::vector<ops::Engine> engines(const ops::EnginePattern& pattern) override {
    state->asked.push_back(pattern);
    if (state->fails) fail("fakednn: internal error");
    std::vector<ops::Engine> engines;
    for (const FakeEngine& offer : state->offers) {
      engines.push_back({.algorithm = {.name = offer.name,
                                       .workspace_bytes = offer.workspace_bytes,
                                       .deterministic = offer.deterministic},
                         .compiles = offer.compiles,
                         .build = [state = state, offer, pattern]() -> std::unique_ptr<ops::EnginePlan> {
                           state->add("build " + offer.name);
                           if (offer.fails_to_build) fail<AlgorithmFailed>("fakednn: cannot build");
                           return std::make_unique<FakePlan>(state, offer, pattern);
                         }});
    }
    return engines;
  }
  std::unique_ptr<ops::EnginePlan> load(const std::string& serialized) override {
    for (const FakeEngine& offer : state->offers) {
      if (state->refuses_to_load || serialized != "plan of " + offer.name) continue;
      state->add("load " + offer.name);
      return std::make_unique<FakePlan>(state, offer, state->asked.back());
    }
    fail("fakednn: not a plan");
  }

  std::shared_ptr<FakeState> state;
};

/// While it lives, ops on the GPU see the fake library, and the algorithm cache has a file of its own.
class FakeGuard {
 public:
  explicit FakeGuard(FakeState::Compute compute, ops::VendorLibrary replaced = ops::VendorLibrary::kCudnn)
      : state(std::make_shared<FakeState>(std::move(compute))), replaced_(replaced) {
    before_ = ops::set_engine_library_loader(
        replaced, [state = state] { return std::make_unique<FakeLibrary>(state); });
    start_process();
  }
  ~FakeGuard() {
    ops::set_engine_library_loader(replaced_, before_);
    algorithm_cache().set_file("");
    algorithm_cache().set_verify(false);
    algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
    algorithm_cache().clear();
  }
  FakeGuard(const FakeGuard&) = delete;
  FakeGuard& operator=(const FakeGuard&) = delete;

  /// Forgets what a new process would not know.
  void start_process(AlgorithmMode mode = AlgorithmMode::kHeuristic) {
    state->log.clear();
    algorithm_cache().set_file(folder_ / "algorithms.json");
    algorithm_cache().set_mode(mode);
    algorithm_cache().clear();
  }
  std::vector<std::filesystem::path> plan_files() const {
    std::vector<std::filesystem::path> files;
    const std::filesystem::path plans = folder_ / "plans";
    if (!std::filesystem::exists(plans)) return files;
    for (const auto& entry : std::filesystem::directory_iterator(plans)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  std::shared_ptr<FakeState> state;

 private:
  TemporaryFolder folder_;
  ops::VendorLibrary replaced_;
  ops::EngineLibraryLoader before_;
};

}  // namespace taper
