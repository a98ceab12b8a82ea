#include "taper/nn/models/resnet_weights.h"

#include <fmt/format.h>

#include <array>

#include "taper/core/tensor.h"

namespace taper {
namespace {

struct Depth {
  const char* arch;
  bool bottleneck;
  std::array<int, 4> blocks;  ///< in each stage
};
constexpr Depth kDepths[] = {{"resnet18", false, {2, 2, 2, 2}},
                             {"resnet34", false, {3, 4, 6, 3}},
                             {"resnet50", true, {3, 4, 6, 3}},
                             {"resnet101", true, {3, 4, 23, 3}},
                             {"resnet152", true, {3, 8, 36, 3}}};

int count_blocks(const TensorMap& weights, int stage) {
  int count = 0;
  while (weights.contains(fmt::format("layer{}.{}.conv1.weight", stage, count))) ++count;
  return count;
}

bool has(const TensorMap& weights, const std::string& name, const Shape& shape) {
  const auto found = weights.find(name);
  return found != weights.end() && found->second.shape() == shape;
}

}  // namespace

std::optional<ResNetKind> resnet_of_weights(const TensorMap& weights) {
  const auto classifier = weights.find("fc.weight");
  if (classifier == weights.end() || classifier->second.dim() != 2) return std::nullopt;
  if (!has(weights, "conv1.weight", {64, 3, 7, 7})) return std::nullopt;
  // Wide ResNets have twice the channels here, ResNeXts groups.
  if (!has(weights, "layer1.0.conv2.weight", {64, 64, 3, 3})) return std::nullopt;
  const bool bottleneck = weights.contains("layer1.0.conv3.weight");
  std::array<int, 4> blocks = {};
  for (int stage = 0; stage < 4; ++stage) blocks[size_t(stage)] = count_blocks(weights, stage + 1);
  for (const Depth& depth : kDepths) {
    if (depth.bottleneck == bottleneck && depth.blocks == blocks)
      return ResNetKind{depth.arch, classifier->second.size(0)};
  }
  return std::nullopt;
}

}  // namespace taper
