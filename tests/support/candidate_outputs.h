#pragma once
// Runs candidates without the algorithm cache, with what the cache would give them.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "taper/core/storage.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/vendor/engine_library.h"

namespace taper {

/// Computes `call` with the workspace that the candidate needs, on the device of the call's outputs. Throws
/// what the candidate throws.
template <class Call>
void run_candidate(const Algorithm& candidate, const Call& call) {
  Call copy = call;
  const Storage workspace(candidate.workspace_bytes, copy.outputs().at(0)->device());
  candidate.run(call, candidate.workspace_bytes > 0 ? workspace.data() : nullptr);
}

/// Runs the candidate on copies of the call's outputs, and returns the copies.
template <class Call>
std::vector<Tensor> outputs_of(Call call, const Algorithm& candidate) {
  std::vector<Tensor> outputs;
  for (Tensor* output : call.outputs()) {
    *output = ops::clone(*output);
    outputs.push_back(*output);
  }
  run_candidate(candidate, call);
  return outputs;
}

/// Whether a vendor's library computes the candidate: its name begins with the library's.
inline bool is_vendors(const std::string& candidate) {
  const auto is_of = [&](ops::VendorLibrary which) {
    const auto library = ops::engine_library(which);
    return library != nullptr && candidate.starts_with(library->name());
  };
  return is_of(ops::VendorLibrary::kCublaslt) || is_of(ops::VendorLibrary::kCudnn);
}

/// Runs all candidates of a test. A vendor's library may refuse one, as under the algorithm cache: refusals
/// are counted, and one warning at the end gives their number. If Taper's own kernel refuses, the test fails.
class CandidateRuns {
 public:
  CandidateRuns() = default;
  ~CandidateRuns() {
    if (refused_ > 0)
      WARN(fmt::format("{} of {} runs were refused by a vendor's library, first: {}", refused_,
                       refused_ + computed_, first_refusal_));
  }
  CandidateRuns(const CandidateRuns&) = delete;
  CandidateRuns& operator=(const CandidateRuns&) = delete;

  /// Computes `call`. Returns false if there is no result to check: the candidate does not support the call,
  /// needs more workspace than the algorithm cache would give it, or is refused.
  template <class Call>
  bool run(const Algorithm& candidate, const Call& call) {
    return attempt(candidate, [&] { run_candidate(candidate, call); });
  }
  /// Returns the candidate's results as outputs_of() does; empty where run() is false.
  template <class Call>
  std::vector<Tensor> outputs(const Algorithm& candidate, const Call& call) {
    std::vector<Tensor> outputs;
    attempt(candidate, [&] { outputs = outputs_of(call, candidate); });
    return outputs;
  }

  int computed() const { return computed_; }
  int refused() const { return refused_; }

 private:
  template <class Body>
  bool attempt(const Algorithm& candidate, const Body& body) {
    if (!candidate.supported || candidate.workspace_bytes > algorithm_cache().workspace_limit()) return false;
    try {
      body();
    } catch (const AlgorithmFailed& error) {
      const std::string text = fmt::format("{}: {}", candidate.name, error.what());
      if (!is_vendors(candidate.name)) FAIL_CHECK(text);
      if (refused_++ == 0) first_refusal_ = text;
      return false;
    }
    ++computed_;
    return true;
  }

  int computed_ = 0, refused_ = 0;
  std::string first_refusal_;
};

}  // namespace taper
