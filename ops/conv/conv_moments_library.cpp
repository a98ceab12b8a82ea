#include "taper/ops/conv/conv_moments_library.h"

#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv_pattern.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/library/library_candidates.h"
#include "taper/ops/norm/channel_statistics_gpu.h"

namespace taper::ops {
namespace {

/// More than Taper's kernels (conv2d.cu), and than the library's engines without moments.
constexpr double kCost = 4;

}  // namespace

std::vector<Candidate<Conv2dCall>> conv_moments_library_candidates(const Conv2dCall& call) {
  if (!is_half(call.result.dtype())) return {};
  ConvPattern pattern = ConvPattern::of(call);
  pattern.sums = true;
  std::vector<Candidate<Conv2dCall>> candidates;
  for (LazyEngine& engine : library_engines(pattern, call.problem())) {
    const auto run = [run = std::move(engine.run)](const Conv2dCall& conv, void* workspace) {
      const gpu::DeviceGuard device(conv.result.device().index);
      const auto channels = [&] {
        return empty({conv.conv.k}, {.dtype = kFloat32, .device = conv.result.device()});
      };
      const ChannelSums sums = {channels(), channels()};
      EngineOperands operands = conv_operands(conv);
      operands.add(Operand::kSum, sums.sum);
      operands.add(Operand::kSquareSum, sums.square_sum);
      run(operands, workspace);
      finish_statistics_gpu(sums, conv.result.numel() / conv.conv.k,
                            {.mean = conv.moments.mean, .var = conv.moments.var});
    };
    candidates.push_back({.name = engine.name + ", with sums",
                          .workspace_bytes = engine.workspace_bytes,
                          .deterministic = engine.deterministic,
                          .cost = kCost + 1e-3 * double(candidates.size()),
                          .run = run,
                          .chosen = std::move(engine.chosen)});
  }
  return candidates;
}

}  // namespace taper::ops
