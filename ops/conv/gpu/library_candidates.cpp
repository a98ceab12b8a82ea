#include "taper/ops/conv/gpu/library_candidates.h"

#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/moments/channel_statistics_gpu.h"
#include "taper/ops/vendor/conv_pattern.h"
#include "taper/ops/vendor/library_candidates.h"

namespace taper::ops {
namespace {

// Estimates: the library's plain engines come between its matrix products and Taper's kernels
// (candidates.cu).
constexpr double kPlainCost = 1.2, kPrologueCost = 1.8, kSumsCost = 4;

/// The engine's operands, and room for its sums if it gives any.
void run_engine(const LazyEngine& engine, bool sums, const Conv2dCall& call, void* workspace) {
  const gpu::DeviceGuard device(call.result.device().index);
  EngineOperands operands = conv_operands(call);
  if (!sums) return engine.run(operands, workspace);
  const auto channels = [&] {
    return empty({call.conv.k}, {.dtype = kFloat32, .device = call.result.device()});
  };
  const ChannelSums gathered = {channels(), channels()};
  operands.add(Operand::kSum, gathered.sum);
  operands.add(Operand::kSquareSum, gathered.square_sum);
  engine.run(operands, workspace);
  finish_statistics_gpu(gathered, call.result.numel() / call.conv.k,
                        {.mean = call.moments.mean, .var = call.moments.var});
}

/// Engines for `call`, whose prologue they take in, that give its moments' sums or leave the moments out.
std::vector<Candidate<Conv2dCall>> conv_engines(const Conv2dCall& call, bool sums) {
  ConvPattern pattern = ConvPattern::of(call);
  pattern.sums = sums;
  const double cost = sums ? kSumsCost : pattern.affine_relu ? kPrologueCost : kPlainCost;
  const char* const also = sums ? pattern.affine_relu ? ", with prologue and sums" : ", with sums"
                           : pattern.affine_relu ? ", with prologue"
                                                 : "";
  std::vector<Candidate<Conv2dCall>> candidates;
  for (LazyEngine& engine : library_engines(pattern, call.problem())) {
    const double rank = double(candidates.size()) * 1e-3;
    candidates.push_back(
        {.name = engine.name + also,
         .workspace_bytes = engine.workspace_bytes,
         .deterministic = engine.deterministic,
         .cost = cost + (rank < 0.19 ? rank : 0.19),
         .epsilon = engine.rounds_to_tf32 ? kTf32Epsilon : 0,
         .run = [engine, sums](const Conv2dCall& conv,
                               void* workspace) { run_engine(engine, sums, conv, workspace); },
         .prepare = engine.prepare,
         .chosen = engine.chosen});
    if (!sums) candidates.back() = with_moments_after(std::move(candidates.back()));
  }
  return candidates;
}

}  // namespace

std::vector<Candidate<Conv2dCall>> conv_library_candidates(const Conv2dCall& call) {
  if (call.result.dtype() == kFloat64 || call.first.numel() == 0 || call.second.numel() == 0) return {};
  if (!conv_operands(call).are_aligned()) return {};
  Conv2dCall plain = call;
  plain.prologue = {};
  std::vector<Candidate<Conv2dCall>> candidates;
  for (const bool sums : {false, true}) {
    if (sums && !(call.moments.mean.defined() && is_half(call.result.dtype()))) continue;
    for (Candidate<Conv2dCall>& candidate : conv_engines(plain, sums))
      candidates.push_back(with_prologue_before(std::move(candidate)));
    if (!call.prologue.scale.defined() || !call.prologue.relu) continue;
    for (Candidate<Conv2dCall>& candidate : conv_engines(call, sums))
      candidates.push_back(std::move(candidate));
  }
  return candidates;
}

}  // namespace taper::ops
