#include "taper/ops/random/graph_draws.h"

#include <algorithm>

#include "taper/core/gpu/capture_refusal.h"
#include "taper/ops/random/random_gpu.h"

namespace taper::ops {

static_assert(sizeof(GeneratorState) == 2 * sizeof(int64_t));

GraphDraws::GraphDraws(Device device)
    : bases_(empty({int64_t(kMostStates), 2}, {.dtype = kInt64, .device = device})) {}

GeneratorState* GraphDraws::base() const {
  return reinterpret_cast<GeneratorState*>(bases_.data<int64_t>());
}

DrawnRange GraphDraws::Recording::draw(Generator& generator, uint64_t blocks, Device device) {
  if (device.is_cpu())
    gpu::detail::refuse_capture("random numbers are drawn on the CPU, which no replay would draw again");
  std::vector<Source>& sources = draws_.sources_;
  auto source = std::ranges::find(sources, &generator, &Source::generator);
  if (source == sources.end()) {
    if (sources.size() == kMostStates)
      gpu::detail::refuse_capture(
          fmt::format("a graph draws from at most {} generators, and this is another one", kMostStates));
    source = sources.insert(source, {.generator = &generator});
  }
  const DrawnRange range = {.first = {.seed = 0, .counter = source->blocks},
                            .base = draws_.base() + (source - sources.begin())};
  source->blocks += blocks;
  return range;
}

void GraphDraws::publish() {
  if (sources_.empty()) return;
  std::array<GeneratorState, kMostStates> states;
  for (size_t i = 0; i < sources_.size(); ++i)
    states[i] = sources_[i].generator->reserve(sources_[i].blocks, bases_.device()).first;
  write_states_gpu(base(), states, bases_.device());
}

}  // namespace taper::ops
