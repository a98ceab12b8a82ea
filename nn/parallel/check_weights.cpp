#include "taper/nn/parallel/check_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/weights_checksum.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {
namespace {

double norm(const Tensor& x) {
  return std::sqrt(ops::item(ops::sum(ops::square(ops::cast(x, kFloat64)))));
}

/// Returns the first of this rank's parameters that is not rank 0's; empty if there is none.
std::string first_that_differs(const Module& model, ProcessGroup& group) {
  constexpr double kRounding = 1e-3;
  std::string found;
  for (const auto& [name, parameter] : model.named_parameters()) {
    const Tensor own = parameter.detach(), theirs = ops::clone(own);
    group.broadcast(theirs, 0, "weights to compare").wait();
    const bool is_same = norm(ops::sub(own, theirs)) <= kRounding * norm(theirs);  // false for NaN
    if (!is_same && found.empty()) found = name;
  }
  return found;
}

}  // namespace

uint32_t check_weights(const Module& model, ProcessGroup& group) {
  const NoGradGuard no_grad;
  const uint32_t own = weights_checksum(model.parameters());
  if (group.size() == 1) return own;
  // Nearly always all bits are equal, and then nothing else need travel.
  const std::vector<std::string> sums =
      group.gather_texts(fmt::format("{:08x}", own), "checksums of weights");
  if (std::ranges::all_of(sums, [&](const std::string& sum) { return sum == sums[0]; })) return own;
  const std::vector<std::string> found =
      group.gather_texts(first_that_differs(model, group), "ranks' weights");
  std::vector<size_t> ranks;
  std::string parameter;
  for (size_t rank = 1; rank < found.size(); ++rank) {
    if (found[rank].empty()) continue;
    ranks.push_back(rank);
    parameter = found[rank];
  }
  if (ranks.empty()) return own;
  if (ranks.size() == found.size() - 1 && ranks.size() > 1) ranks = {0};
  fail("the ranks' weights have drifted apart: {} of rank {} is not that of the others{}", parameter,
       fmt::join(ranks, ", "), found.size() == 2 ? "; one of two ranks is wrong" : "");
}

}  // namespace taper
