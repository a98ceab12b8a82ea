#pragma once
// A ResNet small enough to train on the simulated GPU within a test, with every kind of layer of a large one.

#include "taper/nn/models/resnet.h"

namespace taper::test {

/// x: [N, 3, H, W]. Returns logits [N, 10].
struct SmallResNet : Layer {
  explicit SmallResNet(int64_t width = 8)
      : conv1(register_module<Conv2d>("conv1", 3, width, 3, Conv2dOptions{.padding = 1}, kNoBias)),
        bn1(register_module<BatchNorm2d>("bn1", width)),
        maxpool(
            register_module<MaxPool2d>("maxpool", MaxPool2dOptions{.kernel = 3, .stride = 2, .padding = 1})),
        block1(register_module<BasicBlock>("block1", width, width, 1)),
        block2(register_module<Bottleneck>("block2", width, width / 2, 2)),
        avgpool(register_module<AdaptiveAvgPool2d>("avgpool", 1)),
        fc(register_module<Linear>("fc", 2 * width, 10)) {}

  Tensor forward(const Tensor& x) override {
    const Tensor stem = maxpool(bn1(conv1(x), {.relu = true}));
    return fc(avgpool(block2(block1(stem))).flatten(1));
  }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  MaxPool2d& maxpool;
  BasicBlock& block1;
  Bottleneck& block2;
  AdaptiveAvgPool2d& avgpool;
  Linear& fc;
};

}  // namespace taper::test
