#pragma once  // spine 25 (docs/0-the-spine.md)
// Algorithm: one way to compute an op. This record describes both Taper's kernels and the engines of vendors'
// libraries. The algorithm cache (algorithm_cache.h) chooses among the records that an op lists.

#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/ops/algorithms/algorithm_problem.h"

namespace taper {

/// Thrown by an algorithm that cannot compute a call after all, as when a library refuses. It has changed
/// nothing. The cache rejects the algorithm and takes the next.
class AlgorithmFailed : public Error {
 public:
  using Error::Error;
};

/// AlgorithmFailed for a reason that may pass: a library finds no memory, or a launch fails. Other processes
/// try the algorithm again.
class AlgorithmUnavailable : public AlgorithmFailed {
 public:
  using AlgorithmFailed::AlgorithmFailed;
};

/// One call of an op: its tensors and numbers in a struct that can be copied. `outputs` are the tensors that
/// an algorithm writes. They must not share memory with inputs. An algorithm may read their old values.
template <class Call>
concept AlgorithmCall = std::copy_constructible<Call> && requires(const Call& call, Call& copy) {
  { call.problem() } -> std::same_as<Problem>;
  { copy.outputs() } -> std::convertible_to<std::vector<Tensor*>>;
};

/// The function of an algorithm: void(const Call& call, void* workspace), for one type of Call. It remembers
/// that type and rejects any other.
class AlgorithmRun {
 public:
  AlgorithmRun() = default;
  template <class Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, AlgorithmRun>)
      AlgorithmRun(Function function)  // NOLINT(google-explicit-constructor): lambdas become algorithms
      : AlgorithmRun(std::move(function), CallOf<decltype(std::function{function})>{}) {}

  template <class Call>
  void operator()(const Call& call, void* workspace) const {
    TAPER_CHECK(takes(typeid(Call)), "an algorithm was given a call of another op");
    function_(&call, workspace);
  }
  /// Runs a call at `call`, whose type must be the one that takes() confirms.
  void run_at(const void* call, void* workspace) const { function_(call, workspace); }

  /// Whether `type` is the type of call.
  bool takes(const std::type_info& type) const { return *type_ == type; }

 private:
  template <class Signature>
  struct CallOf;
  template <class Call>
  struct CallOf<std::function<void(const Call&, void*)>> {
    using Type = Call;
  };

  template <class Function, class Of>
  AlgorithmRun(Function function, Of)
      : type_(&typeid(typename Of::Type)),
        function_([function = std::move(function)](const void* call, void* workspace) {
          function(*static_cast<const typename Of::Type*>(call), workspace);
        }) {}

  const std::type_info* type_ = &typeid(void);
  std::function<void(const void* call, void* workspace)> function_;
};

/// One way to compute a call. Algorithms are listed for one problem, so all members are values and may depend
/// on it. `run` is kept and called for every call with an equal problem. So it must take everything that is
/// not in the problem (addresses above all) from its argument.
struct Algorithm {
  /// Unique among the op's algorithms. Includes a library's version that Problem::environment() does not name
  /// ("eigen 3.4.0"), so that times measured with another version do not count.
  std::string name;
  /// Whether it can compute this problem.
  bool supported = true;
  size_t workspace_bytes = 0;
  /// Whether equal inputs give equal bits, whatever else the machine does.
  bool deterministic = true;
  /// Where nothing is measured, the algorithm with the lowest rank is taken. Estimated seconds or plain
  /// numbers: ranks are compared within one list only. Derived from the problem alone, never from the time of
  /// day or the load. If an algorithm computes other bits than its rivals, its rank does not depend on the
  /// number of threads.
  double rank = 0;
  /// The relative rounding of its computations, where that is coarser than the outputs' dtype (core/tf32.h).
  /// Its results may differ from the others' by this much.
  double epsilon = 0;
  /// Whether measuring it always compares its result with that of the first algorithm listed: for algorithms
  /// whose output format we know only from documentation.
  bool always_verified = false;
  /// Computes the call. May run in several threads at once. `workspace`: workspace_bytes bytes on the
  /// outputs' device, or null for 0.
  AlgorithmRun run = {};
  /// Prepares what takes long, such as compiling a plan. May be empty: the first run then prepares. May be
  /// called on any thread, beside that of other algorithms. Throws AlgorithmFailed.
  std::function<void()> prepare = {};
  /// Called when the algorithm is chosen for its problem, before or after it has run. May be empty. It may
  /// keep what took long to prepare for other processes (plan_store.h). Throws nothing.
  std::function<void()> chosen = {};
};

/// Returns a list for calls of another type: each algorithm runs on translate(call).
template <class Call, class Translate>
std::vector<Algorithm> translated(std::vector<Algorithm> list, Translate translate) {
  for (Algorithm& algorithm : list) {
    algorithm.run = [run = std::move(algorithm.run), translate](const Call& call, void* workspace) {
      run(translate(call), workspace);
    };
  }
  return list;
}

/// Appends `more` to the list.
inline void append(std::vector<Algorithm>& list, std::vector<Algorithm> more) {
  std::move(more.begin(), more.end(), std::back_inserter(list));
}

/// A copy of a call, of any type, whose output handles can be pointed elsewhere.
struct CallCopy {
  std::shared_ptr<void> call;
  std::vector<Tensor*> outputs;
};

}  // namespace taper
