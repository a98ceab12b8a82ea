#pragma once
// Residual networks for images: He et al. 2015, "Deep Residual Learning for Image Recognition",
// https://arxiv.org/abs/1512.03385. The bottleneck is "v1.5": its stride sits in the 3x3 convolution.
// Parameter names, shapes and initialisation are torchvision's (torchvision/models/resnet.py), so its weights
// load here.

#include <array>
#include <string_view>

#include "taper/nn/layers/adaptive_avg_pool2d.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/max_pool2d.h"
#include "taper/nn/layers/sequential.h"

namespace taper {

struct ResNetOptions {
  int64_t num_classes = 1000;
  /// Starts the last batch norm of each block at 0, so that the block begins as the identity:
  /// https://arxiv.org/abs/1706.02677, section 5.1.
  bool zero_init_residual = false;
};

/// Two 3x3 convolutions beside a shortcut: the block of ResNet-18 and 34.
class BasicBlock : public Module {
 public:
  static constexpr int64_t kExpansion = 1;  ///< output channels / width
  BasicBlock(int64_t in_channels, int64_t width, int64_t stride);

  /// x: [N, in_channels, H, W]. Returns [N, width, H / stride, W / stride].
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "BasicBlock"; }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Sequential* downsample;  ///< the shortcut's 1x1 convolution and norm where the shape changes, else null
};

/// 1x1 down, 3x3, 1x1 up beside a shortcut: the block of ResNet-50, 101 and 152.
class Bottleneck : public Module {
 public:
  static constexpr int64_t kExpansion = 4;
  Bottleneck(int64_t in_channels, int64_t width, int64_t stride);

  /// x: [N, in_channels, H, W]. Returns [N, 4 * width, H / stride, W / stride].
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Bottleneck"; }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Conv2d& conv3;
  BatchNorm2d& bn3;
  Sequential* downsample;
};

class ResNet : public Module {
 public:
  enum class Block { kBasic, kBottleneck };

  /// `blocks`: how many in each of the four stages.
  ResNet(Block block, const std::array<int64_t, 4>& blocks, const ResNetOptions& options = {});

  /// x: [N, 3, H, W] with H and W of at least 1; the stages run at 1/4, 1/8, 1/16 and 1/32 of it.
  /// Returns logits [N, num_classes].
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ResNet"; }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  MaxPool2d& maxpool;
  Sequential& layer1;
  Sequential& layer2;
  Sequential& layer3;
  Sequential& layer4;
  AdaptiveAvgPool2d& avgpool;
  Linear& fc;
};

/// 11,689,512 parameters at 1000 classes.
ResNet resnet18(const ResNetOptions& options = {});
/// 21,797,672.
ResNet resnet34(const ResNetOptions& options = {});
/// 25,557,032.
ResNet resnet50(const ResNetOptions& options = {});
/// 44,549,160.
ResNet resnet101(const ResNetOptions& options = {});
/// 60,192,808.
ResNet resnet152(const ResNetOptions& options = {});
/// By name: "resnet50". Throws Error for another word.
ResNet make_resnet(std::string_view architecture, const ResNetOptions& options = {});

}  // namespace taper
