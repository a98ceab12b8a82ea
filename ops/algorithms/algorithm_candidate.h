#pragma once
// One way to compute an op, and how the algorithm cache sees it.

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/ops/algorithms/algorithm_problem.h"

namespace taper {

/// Thrown by a candidate that turns out not to be able to compute a call, before it has changed anything, as
/// when a library refuses an algorithm. The cache strikes it off and takes the next.
class AlgorithmFailed : public Error {
 public:
  using Error::Error;
};

/// AlgorithmFailed for a reason that may pass, as when a library finds no memory or a launch fails. Other
/// processes try the candidate again.
class AlgorithmUnavailable : public AlgorithmFailed {
 public:
  using AlgorithmFailed::AlgorithmFailed;
};

/// One call of an op: its tensors and numbers in a struct that can be copied. `outputs` are the tensors that
/// a candidate writes. They must not share memory with inputs; what they hold beforehand may be read.
template <class Call>
concept AlgorithmCall = std::copy_constructible<Call> && requires(const Call& call, Call& copy) {
  { call.problem() } -> std::same_as<Problem>;
  { copy.outputs() } -> std::convertible_to<std::vector<Tensor*>>;
};

/// One way to compute a Call. Candidates are listed for one problem, so all members are values and may depend
/// on it; `run` is kept and called for every call with an equal problem, so it must take everything that is
/// not in the problem (pointers above all) from its argument.
template <class Call>
struct Candidate {
  /// Unique among the op's. It has the version of a library that computes it and that Problem::environment()
  /// does not name ("openblas 0.3.21"), so that times measured with another version do not count.
  std::string name;
  /// Whether it can compute this problem.
  bool supported = true;
  size_t workspace_bytes = 0;
  /// Whether equal inputs give equal bits, whatever else the machine does.
  bool deterministic = true;
  /// Estimated seconds. Only the order matters. Derived from the problem alone, never from the time of day or
  /// the load, and where a candidate computes other bits than its rivals, not from the number of threads.
  double cost = 0;
  /// The relative rounding of what it computes in, where that is coarser than the outputs' dtype
  /// (core/tf32.h): how far its results may be from the others'.
  double epsilon = 0;
  /// Whether measuring it also compares its result with the first candidate's, even where nobody has asked
  /// for that: for one that rests on somebody else's word on a format.
  bool always_verified = false;
  /// Computes the call; may run in several threads at once. `workspace` has workspace_bytes bytes on the
  /// outputs' device; null for 0.
  std::function<void(const Call& call, void* workspace)> run;
  /// Makes ready what takes long, such as compiling a plan, if there is something; the first run does it
  /// otherwise. May be called on any thread, beside those of other candidates. Throws AlgorithmFailed.
  std::function<void()> prepare = {};
  /// Called, if there is one, when it is chosen for its problem, before or after it has run: what took long
  /// to make for it may be kept for other processes (ops/algorithms/plan_store.h). Throws nothing.
  std::function<void()> chosen = {};
};

namespace detail {

/// A candidate of some type of call. ErasedCandidate::run takes a pointer to one of that type.
struct ErasedCandidate {
  std::string name;
  bool supported = true;
  size_t workspace_bytes = 0;
  bool deterministic = true;
  double cost = 0;
  double epsilon = 0;
  bool always_verified = false;
  std::function<void(const void* call, void* workspace)> run;
  std::function<void()> prepare;
  std::function<void()> chosen;
  bool is_reference = false;  ///< what the others are verified against
  bool is_suspected = false;  ///< AlgorithmFault::suspected: made ready by itself
};

/// A copy of a call whose output handles can be pointed elsewhere.
struct CallCopy {
  std::shared_ptr<void> call;
  std::vector<Tensor*> outputs;
};

/// What the cache needs on a miss, whatever the type of the call.
struct ErasedCall {
  std::function<std::vector<ErasedCandidate>()> candidates;
  std::function<CallCopy()> copy;
};

/// An address for each type of call, so that one op's candidates never see another's calls.
template <class Call>
inline constexpr char kCallType = 0;

template <class Call, class Candidates>
ErasedCall erase(const Call& call, const Candidates& candidates) {
  const auto list = [&call, &candidates] {
    std::vector<ErasedCandidate> erased;
    for (Candidate<Call>& candidate : candidates(call)) {
      auto run = [run = std::move(candidate.run)](const void* any, void* workspace) {
        run(*static_cast<const Call*>(any), workspace);
      };
      erased.push_back({std::move(candidate.name), candidate.supported, candidate.workspace_bytes,
                        candidate.deterministic, candidate.cost, candidate.epsilon, candidate.always_verified,
                        std::move(run), std::move(candidate.prepare), std::move(candidate.chosen)});
    }
    return erased;
  };
  const auto copy = [&call] {
    auto duplicate = std::make_shared<Call>(call);
    std::vector<Tensor*> outputs = duplicate->outputs();
    return CallCopy{std::move(duplicate), std::move(outputs)};
  };
  return {list, copy};
}

}  // namespace detail
}  // namespace taper
