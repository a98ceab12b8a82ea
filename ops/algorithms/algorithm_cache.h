#pragma once
// Which of several ways to compute an op is taken, and why.
//
// An op that has more than one algorithm describes a call of it as a struct, lists the candidates for it in a
// function, and leaves the choice to the cache. ops/matmul/matmul_cpu.h, with a workspace added:
//
//   struct MatmulCall {
//     Tensor a, b, c;
//     Problem problem() const {
//       return Problem("matmul", "forward", c.device()).add("a", a).add("b", b).add("c", c);
//     }
//     std::vector<Tensor*> outputs() { return {&c}; }
//   };
//
//   std::vector<Candidate<MatmulCall>> matmul_candidates(const MatmulCall& call) {
//     const double flops = 2. * call.c.numel() * call.a.size(-1);
//     return {
//         {.name = "packed",
//          .workspace_bytes = call.a.size_bytes() + call.b.size_bytes(),
//          .cost = 4e-6 + flops / 190e9,
//          .run = [](const MatmulCall& m, void* panels) { multiply_packed(m.a, m.b, m.c, panels); }},
//         {.name = "dot products",
//          .supported = has_contiguous_columns(call.b),
//          .cost = flops / 55e9,
//          .run = [](const MatmulCall& m, void*) { dot_products(m.a, m.b, m.c); }},
//     };
//   }
//
//   algorithm_cache().run(MatmulCall{a, b, c}, matmul_candidates);
//
// The first candidate listed should be the plainest: the others are verified against it. The list is made
// once for each problem, so making it may take its time, as vendors' libraries do when they compile a plan.
//
// PyTorch's counterparts: BenchmarkCache in ATen/native/cudnn/Conv_v8.cpp for convolutions, TunableOp
// (ATen/cuda/tunable) for matrix products.

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "taper/ops/algorithms/algorithm_candidate.h"
#include "taper/ops/algorithms/algorithm_file.h"
#include "taper/ops/algorithms/algorithm_problem.h"
#include "taper/ops/algorithms/algorithm_statistics.h"
#include "taper/ops/algorithms/algorithm_trials.h"
#include "taper/ops/algorithms/plan_store.h"

namespace taper {

enum class AlgorithmMode : uint8_t {
  kHeuristic,      ///< the candidate of least estimated cost
  kBenchmark,      ///< the fastest, measured once for each problem and remembered in a file
  kDeterministic,  ///< as kHeuristic, among candidates that give the same bits on every run
};

/// How long kBenchmark may take. When the time is over it goes on with what it knows: the candidates that
/// were measured, or the estimates. No problem takes more than a tenth of what is left.
struct BenchmarkLimits {
  double seconds_per_problem = 10;
  double seconds_in_all = std::numeric_limits<double>::infinity();  ///< from when the limits were set
};

/// Thread-safe: two threads that meet the same new problem measure it once.
class AlgorithmCache {
 public:
  /// Uses no file. (algorithm_cache() does.)
  AlgorithmCache() = default;
  AlgorithmCache(const AlgorithmCache&) = delete;
  AlgorithmCache& operator=(const AlgorithmCache&) = delete;

  /// Computes `call` with the candidate chosen for its problem. `candidates(call)` returns
  /// std::vector<Candidate<Call>> and is called where nothing has been chosen yet. Throws Error if no
  /// candidate can compute the problem in this mode, and whatever the candidate throws;
  /// after AlgorithmFailed, though, the next one takes over for this call and all later ones.
  ///
  /// A candidate that makes the GPU unusable when it is measured is remembered in the file, and run() throws
  /// DeviceLostError, which names it. So is one that was being tried when two processes ended. Neither is
  /// considered again for its problem, unless it is the first one listed.
  ///
  /// Nothing is measured while a graph is captured, inside a parallel loop, or for a single candidate; then
  /// the file or the estimates decide.
  template <AlgorithmCall Call, class Candidates>
  void run(const Call& call, const Candidates& candidates) {
    const Problem problem = call.problem();
    std::shared_ptr<const Choice> choice = find(problem, &detail::kCallType<Call>);
    if (choice == nullptr)
      choice = decide(problem, &detail::kCallType<Call>, detail::erase(call, candidates));
    run_choice(choice, problem, &call);
  }

  /// Forgets the choices made so far, though not what was measured.
  void set_mode(AlgorithmMode mode);
  AlgorithmMode mode() const { return mode_; }
  /// Where measurements are kept; an empty path keeps them in memory alone. Choices made so far stay.
  void set_file(const std::string& path);
  /// That file; empty: none.
  std::string file_path() const;
  /// Where candidates keep what took long to make for them: the folder plans/ beside that file.
  PlanStore plans();
  /// Whether candidates are compared with the first one listed before they are timed. A wrong one is never
  /// chosen, and reported by warn(). At the start: TAPER_VERIFY_ALGORITHMS=1.
  void set_verify(bool verify) { verify_ = verify; }
  /// Candidates that need a larger workspace are not considered. At the start: 1 GiB.
  void set_workspace_limit(size_t size_bytes) { workspace_limit_ = size_bytes; }
  size_t workspace_limit() const { return workspace_limit_; }
  /// Candidates whose name contains one of these words are not considered. At the start: the words in
  /// TAPER_ALGORITHM_DENY, with commas between them. Choices made so far stay.
  void set_denied(std::vector<std::string> words);
  /// Throws Error unless both are positive.
  void set_benchmark_limits(const BenchmarkLimits& limits);
  /// Forgets all choices and measurements in memory; the file stays.
  void clear();

  AlgorithmStatistics statistics() const;
  /// What was decided in this process, in the order of the problems' text. Times are those measured here or
  /// in the file; none in the modes that do not measure.
  std::vector<AlgorithmRecord> decisions() const;

 private:
  /// The candidates for one problem, best first; the others stand in where it finds no memory.
  struct Choice {
    const void* call_type;
    std::vector<detail::ErasedCandidate> ranked;
  };
  using ChoicePtr = std::shared_ptr<const Choice>;

  ChoicePtr find(const Problem& problem, const void* call_type);
  ChoicePtr decide(const Problem& problem, const void* call_type, const detail::ErasedCall& call);
  void run_choice(const ChoicePtr& choice, const Problem& problem, const void* call);
  void strike_off(const Problem& problem, const std::string& name, const std::string& why);

  // Steps of decide().
  std::vector<detail::ErasedCandidate> usable_candidates(const Problem& problem,
                                                         const detail::ErasedCall& call, AlgorithmMode mode);
  /// Why a candidate must not be considered, apart from faults; empty if it may.
  std::string reason_to_refuse(const detail::ErasedCandidate& candidate, AlgorithmMode mode) const;
  void measure(const Problem& problem, const std::vector<detail::ErasedCandidate>& candidates,
               const detail::ErasedCall& call, AlgorithmRecord& record);
  /// Seconds that measuring one more problem may take; 0 if there are none.
  double seconds_allowed() const;
  bool recall(AlgorithmRecord& record);
  /// With measured_mutex_ held: makes measured_ and faults_ what the file says, once.
  void read_file();
  std::vector<AlgorithmFault> faults_of(const Problem& problem);
  void remember(const AlgorithmFault& fault);
  /// Tells of a trial that a process has left behind.
  void warn_of(const AlgorithmFault& trial) const;
  /// A suspected candidate has survived.
  void acquit(const AlgorithmFault& fault);
  /// Keeps it in memory, and in the file unless a candidate was rejected for what may pass.
  void remember(const AlgorithmRecord& record);
  /// With measured_mutex_ held: calls change(), which reads or writes the file. If that fails, warns of it
  /// and keeps measurements in memory from then on.
  template <class Change>
  void use_file(Change&& change);
  void keep(const Problem& problem, const ChoicePtr& choice, AlgorithmRecord record, AlgorithmMode mode);

  std::atomic<AlgorithmMode> mode_{AlgorithmMode::kHeuristic};
  std::atomic<bool> verify_{false};
  std::atomic<size_t> workspace_limit_{size_t(1) << 30};

  friend AlgorithmCache& algorithm_cache();
  mutable std::shared_mutex choices_mutex_;  // for the two below
  std::unordered_map<Problem, ChoicePtr, ProblemHash> choices_;
  AlgorithmTable decisions_;

  /// Held while measuring, so that measurements do not disturb each other. Recursive: a candidate may be made
  /// of ops that choose, too.
  std::recursive_mutex measure_mutex_;

  mutable std::mutex measured_mutex_;  // for the four below
  AlgorithmFile file_;
  bool file_read_ = false;
  AlgorithmTable measured_;
  std::vector<AlgorithmFault> faults_;

  mutable std::mutex limits_mutex_;  // for the three below
  std::vector<std::string> denied_;
  BenchmarkLimits limits_;
  int64_t benchmark_ns_before_limits_ = 0;

  std::atomic<int64_t> hits_{0}, misses_{0}, recalled_{0}, benchmarked_{0}, struck_off_{0}, fallbacks_{0};
  std::atomic<int64_t> left_out_{0}, unmeasured_{0};
  std::atomic<int64_t> benchmark_ns_{0};
};

/// The one that all ops use. Its file is TAPER_ALGORITHM_CACHE if that is set (empty: none), else
/// $XDG_CACHE_HOME/taper/algorithms.json, else ~/.cache/taper/algorithms.json. In mode kHeuristic at first.
AlgorithmCache& algorithm_cache();

}  // namespace taper
