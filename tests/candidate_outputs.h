#pragma once
// What one candidate computes, apart from the algorithm cache.

#include <vector>

#include "taper/core/algorithm_candidate.h"
#include "taper/core/storage.h"
#include "taper/ops/copy/copy.h"

namespace taper {

/// What a candidate on the GPU leaves in the call's outputs, where it finds what they hold now.
template <class Call>
std::vector<Tensor> outputs_of(Call call, const Candidate<Call>& candidate) {
  std::vector<Tensor> outputs;
  for (Tensor* output : call.outputs()) {
    *output = ops::clone(*output);
    outputs.push_back(*output);
  }
  const Storage workspace(candidate.workspace_bytes, kCUDA);
  candidate.run(call, workspace.data());
  return outputs;
}

}  // namespace taper
