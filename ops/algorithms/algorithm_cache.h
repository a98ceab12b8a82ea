#pragma once  // spine 26 (docs/0-the-spine.md)
// Which of an op's algorithms is taken, and why.
//
// An op with more than one algorithm describes a call as a struct, lists the call's algorithms in a function,
// and leaves the choice to the cache. ops/matmul/matmul_cpu.h, with a workspace added:
//
//   struct MatmulCall {
//     Tensor a, b, c;
//     Problem problem() const {
//       return Problem("matmul", "forward", c.device()).add("a", a).add("b", b).add("c", c);
//     }
//     std::vector<Tensor*> outputs() { return {&c}; }
//   };
//
//   std::vector<Algorithm> matmul_algorithms(const MatmulCall& call) {
//     const double flops = 2. * call.c.numel() * call.a.size(-1);
//     return {
//         {.name = "packed",
//          .workspace_bytes = call.a.size_bytes() + call.b.size_bytes(),
//          .rank = 4e-6 + flops / 190e9,
//          .run = [](const MatmulCall& m, void* panels) { multiply_packed(m.a, m.b, m.c, panels); }},
//         {.name = "dot products",
//          .supported = has_contiguous_columns(call.b),
//          .rank = flops / 55e9,
//          .run = [](const MatmulCall& m, void*) { dot_products(m.a, m.b, m.c); }},
//     };
//   }
//
//   algorithm_cache().run(MatmulCall{a, b, c}, matmul_algorithms);
//
// run() looks for the problem's ranking: its algorithms from best to worst. If there is none, choose() makes
// one from the list. Then the first algorithm of the ranking computes the call.
//
// The first algorithm listed should be the plainest: the others are verified against it. A list is made only
// for a problem without a ranking, so making it may be slow, as when a vendor's library searches its engines.
//
// PyTorch's counterparts: BenchmarkCache in ATen/native/cudnn/Conv_v8.cpp for convolutions, TunableOp
// (ATen/cuda/tunable) for matrix products.

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "taper/core/base/op_scope.h"
#include "taper/core/storage.h"
#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/algorithms/algorithm_memory.h"
#include "taper/ops/algorithms/algorithm_statistics.h"

namespace taper {

namespace detail {
struct Candidate;
}

enum class AlgorithmMode : uint8_t {
  kHeuristic,      ///< the candidate with the least estimated cost
  kBenchmark,      ///< the fastest, measured once for each problem and remembered in a file
  kDeterministic,  ///< as kHeuristic, among candidates that give equal bits in every run
};

/// How long kBenchmark may take. Afterwards it decides by what it knows: the candidates measured so far, or
/// the estimates. No problem takes more than a tenth of the time left.
struct BenchmarkLimits {
  double seconds_per_problem = 10;
  double seconds_in_all = std::numeric_limits<double>::infinity();  ///< from when the limits were set
};

/// The algorithms for one problem, best first. Later ones replace the first if it finds no memory.
using Ranking = std::shared_ptr<const std::vector<Algorithm>>;

/// Thread-safe: two threads that meet the same new problem measure it once.
class AlgorithmCache {
 public:
  /// Uses no file. (algorithm_cache() does.)
  AlgorithmCache() = default;
  AlgorithmCache(const AlgorithmCache&) = delete;
  AlgorithmCache& operator=(const AlgorithmCache&) = delete;

  /// Computes `call` with the algorithm chosen for its problem. `list(call)` returns std::vector<Algorithm>
  /// and is called if nothing has been chosen yet. Throws Error if no algorithm can compute the problem in
  /// this mode, and whatever the algorithm throws. After AlgorithmFailed, though, the next one takes over for
  /// this call and all later ones.
  ///
  /// An algorithm that makes the GPU unusable while it is measured is remembered in the file, and run()
  /// throws DeviceLostError naming it. An algorithm that was being tried when two processes ended is
  /// remembered too. Neither is considered again for its problem, unless it is the first one listed.
  ///
  /// Nothing is measured during a graph's capture, inside a parallel loop, or for a single algorithm. There
  /// the file or the ranks decide.
  template <AlgorithmCall Call, class List>
  void run(const Call& call, const List& list) {
    const Problem problem = call.problem();
    const std::type_info& type = typeid(Call);
    Ranking ranking = find(problem, type);
    if (ranking == nullptr) ranking = choose(problem, type, list(call), [&] { return copy_of(call); });
    for (const Algorithm& algorithm : *ranking) {
      const bool is_last = &algorithm == &ranking->back();
      std::optional<Storage> workspace;
      if (!reserve(algorithm, problem.device(), is_last, workspace)) continue;
      try {
        const SpanScope span(algorithm.name, SpanKind::kAlgorithm);
        return algorithm.run(call, workspace ? workspace->data() : nullptr);
      } catch (const AlgorithmFailed& error) {
        tell_refusal_from_loss(problem.device());
        if (is_last) throw;
        reject(problem, algorithm.name, error.what());
      }
    }
  }

  /// Forgets the choices made so far, but no measurement.
  void set_mode(AlgorithmMode mode);
  AlgorithmMode mode() const { return mode_; }
  /// Sets where measurements are kept. An empty path keeps them in memory alone. Choices made so far stay.
  void set_file(const std::string& path) { memory_.set_file(path); }
  /// Returns that file; empty: none.
  std::string file_path() const { return memory_.file_path(); }
  /// Returns where algorithms keep what took long to prepare: the folder plans/ beside the file.
  PlanStore plans() { return memory_.plans(); }
  /// Whether to compare algorithms with the first one listed before timing them. A wrong one is never chosen,
  /// and warn() reports it. At the start: TAPER_VERIFY_ALGORITHMS=1.
  void set_verify(bool verify) { verify_ = verify; }
  /// Sets the largest workspace that an algorithm may need to be considered. At the start: 1 GiB.
  void set_workspace_limit(size_t size_bytes) { workspace_limit_ = size_bytes; }
  size_t workspace_limit() const { return workspace_limit_; }
  /// Sets words that rule out algorithms whose names contain one. At the start: the words in
  /// TAPER_ALGORITHM_DENY, separated by commas. Choices made so far stay.
  void set_denied(std::vector<std::string> words);
  /// Throws Error unless both are positive.
  void set_benchmark_limits(const BenchmarkLimits& limits);
  /// Forgets all choices and measurements in memory; the file stays.
  void clear();

  AlgorithmStatistics statistics() const;
  /// Returns what was decided in this process, in the order of the problems' text. Times were measured here
  /// or come from the file; modes that do not measure have none.
  std::vector<AlgorithmRecord> decisions() const;

 private:
  template <class Call>
  static CallCopy copy_of(const Call& call) {
    auto copy = std::make_shared<Call>(call);
    std::vector<Tensor*> outputs = copy->outputs();
    return {std::move(copy), std::move(outputs)};
  }

  /// Returns the problem's ranking; null if nothing has been chosen yet. `type`: the call's.
  Ranking find(const Problem& problem, const std::type_info& type);
  /// Ranks the algorithms listed: by the file, by measuring them on copies of the call, or by their ranks.
  Ranking choose(const Problem& problem, const std::type_info& type, std::vector<Algorithm> listed,
                 const std::function<CallCopy()>& copy_call);
  /// Allocates the algorithm's workspace, if it has one. Returns false if there is no memory, so that the next
  /// algorithm must do. Throws OutOfMemoryError if there is no next one.
  bool reserve(const Algorithm& algorithm, Device device, bool is_last, std::optional<Storage>& workspace);
  /// A library that runs on a lost device says no more than that it failed. Throws DeviceLostError if the
  /// device is lost.
  static void tell_refusal_from_loss(Device device);
  void reject(const Problem& problem, const std::string& name, const std::string& why);

  // Steps of choose().
  std::vector<detail::Candidate> usable_candidates(const Problem& problem, std::vector<Algorithm> listed,
                                                   AlgorithmMode mode);
  /// Returns why an algorithm must not be considered, faults aside. Empty if it may.
  std::string reason_to_refuse(const Algorithm& algorithm, AlgorithmMode mode) const;
  bool recall(AlgorithmRecord& record);
  void measure(const Problem& problem, const std::vector<detail::Candidate>& candidates,
               const std::function<CallCopy()>& copy_call, AlgorithmRecord& record);
  /// Returns the seconds that measuring one more problem may take; 0 if it may not.
  double seconds_allowed() const;
  void keep(const Problem& problem, const Ranking& ranking, AlgorithmRecord record, AlgorithmMode mode);

  std::atomic<AlgorithmMode> mode_{AlgorithmMode::kHeuristic};
  std::atomic<bool> verify_{false};
  std::atomic<size_t> workspace_limit_{size_t(1) << 30};

  friend AlgorithmCache& algorithm_cache();
  mutable std::shared_mutex choices_mutex_;  // for the two members below
  std::unordered_map<Problem, Ranking, ProblemHash> choices_;
  AlgorithmTable decisions_;

  /// Held while measuring, so that measurements do not disturb each other. Recursive: an algorithm may be
  /// made of ops that choose as well.
  std::recursive_mutex measure_mutex_;

  AlgorithmMemory memory_;

  mutable std::mutex limits_mutex_;  // for the three members below
  std::vector<std::string> denied_;
  BenchmarkLimits limits_;
  int64_t benchmark_ns_before_limits_ = 0;

  std::atomic<int64_t> hits_{0}, misses_{0}, recalled_{0}, benchmarked_{0}, rejected_{0}, fallbacks_{0};
  std::atomic<int64_t> left_out_{0}, unmeasured_{0};
  std::atomic<int64_t> benchmark_ns_{0};
};

/// The cache of all ops, at first in mode kHeuristic. Its file is TAPER_ALGORITHM_CACHE if that is set
/// (empty: none), else $XDG_CACHE_HOME/taper/algorithms.json, else ~/.cache/taper/algorithms.json.
AlgorithmCache& algorithm_cache();

}  // namespace taper
