#include "taper/ops/conv/gpu/library_algorithms.h"

#include "taper/ops/algorithms/algorithm_compare.h"
#include "taper/ops/conv/passes/extra_passes.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/moments/channel_statistics_gpu.h"
#include "taper/ops/vendor/conv_pattern.h"
#include "taper/ops/vendor/library_algorithms.h"

namespace taper::ops {
namespace {

// The library's plain engines rank between its matrix products and Taper's kernels (algorithms.cu). Those that
// write an f32 result of half operands compile their code when they are chosen, and have not been measured
// yet: a half result and a cast of it, which is small, go first.
constexpr double kPlainRank = 1.2, kUnroundedRank = 1.5, kPrologueRank = 1.8, kSumsRank = 4;

/// Adds a pass that computes the moments from the sums of y and of its squares, which these engines give.
std::vector<Algorithm> with_moments_from_sums(std::vector<Algorithm> engines) {
  for (Algorithm& engine : engines) {
    engine.run = [run = std::move(engine.run)](const Conv2dCall& call, void* workspace) {
      const auto channels = [&] {
        return empty({call.conv.k}, {.dtype = kFloat32, .device = call.y.device()});
      };
      const ChannelSums gathered = {channels(), channels()};
      EngineOperands operands = conv_operands(call);
      operands.add(Operand::kSum, gathered.sum);
      operands.add(Operand::kSquareSum, gathered.square_sum);
      run(operands, workspace);
      finish_statistics_gpu(gathered, call.y.numel() / call.conv.k,
                            {.mean = call.moments.mean, .var = call.moments.var});
    };
  }
  return engines;
}

/// Engines that apply the prologue of `call`. They prepare its moments with sums, or leave them out.
std::vector<Algorithm> conv_engines(const Conv2dCall& call, bool sums) {
  ConvPattern pattern = ConvPattern::of(call);
  pattern.sums = sums;
  const double rank = sums                  ? kSumsRank
                      : pattern.affine_relu ? kPrologueRank
                      : pattern.f32_result  ? kUnroundedRank
                                            : kPlainRank;
  Problem problem = call.problem();
  if (sums) problem.add("engines", "with sums");  // kept plans with and without are two
  std::vector<Algorithm> engines = library_algorithms(pattern, problem, rank);
  const char* const also = sums ? pattern.affine_relu ? ", with prologue and sums" : ", with sums"
                           : pattern.affine_relu ? ", with prologue"
                                                 : "";
  for (Algorithm& engine : engines) engine.name += also;
  if (sums) return with_moments_from_sums(std::move(engines));
  return with_moments_after(call, translated<Conv2dCall>(std::move(engines), conv_operands));
}

/// Engines that round a weight's gradient to half, in a list for its f32 form.
std::vector<Algorithm> rounding_engines(const Conv2dCall& call) {
  std::vector<Algorithm> engines = conv_engines(with_rounded_weight(call), false);
  for (Algorithm& engine : engines) {
    engine.name += ", rounded";
    engine.epsilon = taper::detail::epsilon_of(call.y.dtype());
  }
  return with_weight_cast_after(std::move(engines));
}

}  // namespace

std::vector<Algorithm> conv2d_library_algorithms(const Conv2dCall& call) {
  if (call.y.dtype() == kFloat64 || call.first().numel() == 0 || call.second().numel() == 0) return {};
  if (!conv_operands(call).are_aligned()) return {};
  Conv2dCall plain = call;
  plain.prologue = {};
  std::vector<Algorithm> list;
  for (const bool sums : {false, true}) {
    if (sums && !(call.moments.mean.defined() && is_half(call.y.dtype()))) continue;
    append(list, with_prologue_before(call, conv_engines(plain, sums)));
    if (call.prologue.scale.defined() && call.prologue.relu) append(list, conv_engines(call, sums));
  }
  if (call.result().dtype() != call.y.dtype()) append(list, rounding_engines(call));
  return list;
}

}  // namespace taper::ops
