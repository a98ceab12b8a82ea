#pragma once
// The engines of a vendor's library as candidates for an op on the GPU.
//
// Listing engines is quick, making one ready may not be: cuDNN compiles some for a second. So a plan is built
// when its candidate first runs. A process that recalls its choice from the algorithm file builds only that
// one, and if another process has kept its compiled plan, not even that.

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm_candidate.h"
#include "taper/ops/vendor/engine_library.h"

namespace taper::ops {

/// An engine that is made ready when it first runs.
struct LazyEngine {
  std::string name;  ///< with the library's
  size_t workspace_bytes = 0;
  bool deterministic = true;
  bool rounds_to_tf32 = false;
  /// As EnginePlan::run, on the operands' device. Throws AlgorithmFailed, too, if the plan cannot be built.
  std::function<void(const EngineOperands& operands, void* workspace)> run;
  /// Makes it ready now: a candidate's `prepare`.
  std::function<void()> prepare;
  /// Keeps a compiled plan for other processes, once it has run: a candidate's `chosen`.
  std::function<void()> chosen;
};

/// What engine_library() offers for `pattern`, which describes `problem`, in its order; empty if it offers
/// nothing, or if it fails, of which warn() tells.
std::vector<LazyEngine> library_engines(const EnginePattern& pattern, const Problem& problem);

/// One of them as a candidate that runs as `run` says.
template <class Call>
Candidate<Call> library_candidate(LazyEngine& engine, double cost,
                                  std::function<void(const Call& call, void* workspace)> run) {
  return {.name = std::move(engine.name),
          .workspace_bytes = engine.workspace_bytes,
          .deterministic = engine.deterministic,
          .cost = cost,
          .epsilon = engine.rounds_to_tf32 ? kTf32Epsilon : 0,
          .run = std::move(run),
          .prepare = std::move(engine.prepare),
          .chosen = std::move(engine.chosen)};
}

/// All of them, with the operands that operands_of(call) gives. Estimated costs rise from `cost`, by less
/// than 0.6 in all, in the library's order.
template <class Call>
std::vector<Candidate<Call>> library_candidates(const Call& call, const EnginePattern& pattern,
                                                EngineOperands (*operands_of)(const Call&), double cost) {
  std::vector<Candidate<Call>> candidates;
  for (LazyEngine& engine : library_engines(pattern, call.problem())) {
    const double rank = std::min(double(candidates.size()) * 1e-3, 0.6);
    candidates.push_back(library_candidate<Call>(
        engine, cost + rank, [run = std::move(engine.run), operands_of](const Call& any, void* workspace) {
          run(operands_of(any), workspace);
        }));
  }
  return candidates;
}

}  // namespace taper::ops
