#include "taper/ops/pool/pool_call.h"

#include <iterator>

#include "taper/core/algorithm_cache.h"
#include "taper/ops/library/library_candidates.h"

namespace taper::ops {
namespace {

constexpr double kOwnPoolCost = 1, kPoolEngineCost = 1.2;

EngineOperands pool_operands(const MaxPoolCall& call) {
  return {{Operand::kX, call.x}, {Operand::kY, call.y}};
}

EngineOperands pool_operands(const AveragePoolCall& call) {
  return {{call.backward ? Operand::kGradY : Operand::kX, call.from},
          {call.backward ? Operand::kGradX : Operand::kY, call.to}};
}

template <class Axes>
PoolPattern plain_pattern(const Axes& axes) {
  return {.kernel = {axes.rows.kernel, axes.columns.kernel},
          .stride = {axes.rows.stride, axes.columns.stride},
          .padding = {axes.rows.padding, axes.columns.padding}};
}

PoolPattern pool_pattern_of(const MaxPoolCall& call) {
  PoolPattern pattern = plain_pattern(call.axes);
  pattern.kind = PoolKind::kMax;
  pattern.input = call.x.shape();
  pattern.output = call.y.shape();
  pattern.dtype = call.x.dtype();
  pattern.alignment = pool_operands(call).alignment();
  return pattern;
}

PoolPattern pool_pattern_of(const AveragePoolCall& call) {
  PoolPattern pattern = plain_pattern(call.axes);
  pattern.kind = call.axes.rows.count_include_pad ? PoolKind::kAverage : PoolKind::kAverageInside;
  pattern.backward = call.backward;
  pattern.input = (call.backward ? call.to : call.from).shape();
  pattern.output = (call.backward ? call.from : call.to).shape();
  pattern.dtype = call.from.dtype();
  pattern.alignment = pool_operands(call).alignment();
  return pattern;
}

/// Whether a library's windows along this axis are ours. One that reaches beyond the padding (ceil_mode)
/// divides by less here.
bool fits_library(const AveragePoolAxis& axis) {
  const int64_t end = int64_t(axis.output - 1) * axis.stride - axis.padding + axis.kernel;
  return !axis.adaptive && (!axis.count_include_pad || end <= int64_t(axis.input) + axis.padding);
}

bool fits_library(const MaxPoolAxis& axis) {
  return axis.dilation == 1;
}

template <class Call>
std::vector<Candidate<Call>> with_engines(const Call& call, Candidate<Call> own, DType dtype) {
  std::vector<Candidate<Call>> candidates = {std::move(own)};
  const bool is_for_library = algorithm_cache().mode() == AlgorithmMode::kBenchmark && dtype != kFloat64 &&
                              fits_library(call.axes.rows) && fits_library(call.axes.columns);
  if (!is_for_library) return candidates;
  EngineOperands (*operands_of)(const Call&) = pool_operands;
  auto engines = library_candidates(call, pool_pattern_of(call), operands_of, kPoolEngineCost);
  std::move(engines.begin(), engines.end(), std::back_inserter(candidates));
  return candidates;
}

template <class Axes>
void add_window_words(Problem& problem, const Axes& axes) {
  problem.add("kernel", {axes.rows.kernel, axes.columns.kernel})
      .add("stride", {axes.rows.stride, axes.columns.stride})
      .add("padding", {axes.rows.padding, axes.columns.padding});
}

}  // namespace

Problem MaxPoolCall::problem() const {
  Problem problem("max_pool2d", "values", x.device());
  problem.add("x", x).add("y", y);
  add_window_words(problem, axes);
  return problem.add("dilation", {axes.rows.dilation, axes.columns.dilation})
      .add("alignment", {pool_operands(*this).alignment()});
}

Problem AveragePoolCall::problem() const {
  Problem problem = backward ? Problem("avg_pool2d", "backward", from.device())
                             : Problem("avg_pool2d", "forward", from.device());
  problem.add("a", from).add("result", to);
  if (axes.rows.adaptive || axes.columns.adaptive) {
    problem.add("windows", "adaptive");
  } else {
    add_window_words(problem, axes);
  }
  return problem.add("include_pad", {axes.rows.count_include_pad})
      .add("alignment", {pool_operands(*this).alignment()});
}

std::vector<Candidate<MaxPoolCall>> max_pool_candidates(const MaxPoolCall& call) {
  return with_engines<MaxPoolCall>(
      call,
      {.name = "windows",
       .cost = kOwnPoolCost,
       .run = [](const MaxPoolCall& pool, void*) { max_pool2d_gpu(pool.x, pool.axes, pool.y, Tensor()); }},
      call.x.dtype());
}

std::vector<Candidate<AveragePoolCall>> average_pool_candidates(const AveragePoolCall& call) {
  return with_engines<AveragePoolCall>(call,
                                       {.name = "windows",
                                        .cost = kOwnPoolCost,
                                        .run =
                                            [](const AveragePoolCall& pool, void*) {
                                              const auto& compute =
                                                  pool.backward ? avg_pool2d_backward_gpu : avg_pool2d_gpu;
                                              compute(pool.from, pool.axes, pool.to);
                                            }},
                                       call.from.dtype());
}

}  // namespace taper::ops
