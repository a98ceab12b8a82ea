#pragma once
// ResNet-50's layers in the order for a test that may run out of time.

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "bench/resnet50_layers.h"

namespace taper {

struct RankedLayer {
  ResnetLayer layer;
  int round;  ///< how many smaller layers share its kernel and stride
};

/// Returns the smallest layer of each kernel and stride, then the next of each, and so on.
inline std::vector<RankedLayer> smallest_first() {
  std::vector<ResnetLayer> layers(kResnet50Layers.begin(), kResnet50Layers.end());
  const auto work = [](const ResnetLayer& layer) {
    const int64_t pixels = layer.output_size(224) * layer.output_size(224);
    return layer.in * layer.out * layer.kernel * layer.kernel * pixels;
  };
  std::stable_sort(layers.begin(), layers.end(),
                   [&](const auto& a, const auto& b) { return work(a) < work(b); });
  std::map<std::pair<int64_t, int64_t>, int> met;
  std::vector<RankedLayer> ranked;
  for (const ResnetLayer& layer : layers) ranked.push_back({layer, met[{layer.kernel, layer.stride}]++});
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.round < b.round; });
  return ranked;
}

}  // namespace taper
