#pragma once
// The engines of a vendor's library as candidates for an op on the GPU.
//
// Listing engines is quick, making one ready may not be: cuDNN compiles some for a second. So a plan is built
// when its candidate first runs. A process that recalls its choice from the algorithm file builds only that
// one, and if another process has kept its compiled plan, not even that.

#include <functional>
#include <string>
#include <vector>

#include "taper/core/algorithm_candidate.h"
#include "taper/core/tf32.h"
#include "taper/ops/library/engine_library.h"

namespace taper::ops {

/// An engine that is made ready when it first runs.
struct LazyEngine {
  std::string name;  ///< with the library's
  size_t workspace_bytes = 0;
  bool deterministic = true;
  bool rounds_to_tf32 = false;
  /// As EnginePlan::run, on the operands' device. Throws AlgorithmFailed, too, if the plan cannot be built.
  std::function<void(const EngineOperands& operands, void* workspace)> run;
  /// Keeps a compiled plan for other processes, once it has run: a candidate's `chosen`.
  std::function<void()> chosen;
};

/// What engine_library() offers for `pattern`, which describes `problem`, in its order; empty if it offers
/// nothing, or if it fails, of which warn() tells.
std::vector<LazyEngine> library_engines(const EnginePattern& pattern, const Problem& problem);

/// Those engines as candidates that take their operands from a call by operands_of(call). Estimated costs
/// rise from `cost`, by less than 0.6 in all, in the library's order.
template <class Call>
std::vector<Candidate<Call>> library_candidates(const Call& call, const EnginePattern& pattern,
                                                EngineOperands (*operands_of)(const Call&), double cost) {
  std::vector<Candidate<Call>> candidates;
  for (LazyEngine& engine : library_engines(pattern, call.problem())) {
    const double rank = double(candidates.size()) * 1e-3;
    candidates.push_back({.name = std::move(engine.name),
                          .workspace_bytes = engine.workspace_bytes,
                          .deterministic = engine.deterministic,
                          .cost = cost + (rank < 0.6 ? rank : 0.6),
                          .epsilon = engine.rounds_to_tf32 ? kTf32Epsilon : 0,
                          .run = [run = std::move(engine.run), operands_of](
                                     const Call& any, void* workspace) { run(operands_of(any), workspace); },
                          .chosen = std::move(engine.chosen)});
  }
  return candidates;
}

}  // namespace taper::ops
