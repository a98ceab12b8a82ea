#pragma once  // spine 59 (docs/0-the-spine.md)
// Residual networks for images: He et al. 2015, "Deep Residual Learning for Image Recognition",
// https://arxiv.org/abs/1512.03385. The bottleneck is "v1.5": its stride sits in the 3x3 convolution.
// Parameter names, shapes and initialisation are torchvision's (torchvision/models/resnet.py), so its weights
// load here.

#include <array>
#include <string>
#include <string_view>

#include "taper/nn/layers/adaptive_avg_pool2d.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/max_pool2d.h"
#include "taper/nn/layers/sequential.h"

namespace taper {

struct ResNetOptions {
  int64_t num_classes = 1000;
  /// Starts the last batch norm of each block at 0, so that the block begins as the identity:
  /// https://arxiv.org/abs/1706.02677, section 5.1.
  bool zero_init_residual = false;
  /// Probability that training drops a feature before the last layer. torchvision's networks have no dropout.
  double dropout = 0;
};

/// The shortcut of a block that changes the shape: a strided 1x1 convolution and a batch norm.
class Downsample : public Layer {
 public:
  Downsample(int64_t in_channels, int64_t out_channels, int64_t stride);

  /// x: [N, in_channels, H, W]. Returns [N, out_channels, H / stride, W / stride].
  Tensor forward(const Tensor& x) override;

  Conv2d& conv;       ///< named "0", as in torchvision, where this is a Sequential
  BatchNorm2d& norm;  ///< named "1"
};

/// Two 3x3 convolutions beside a shortcut: the block of ResNet-18 and 34.
class BasicBlock : public Layer {
 public:
  static constexpr int64_t kExpansion = 1;  ///< output channels / width
  BasicBlock(int64_t in_channels, int64_t width, int64_t stride, bool zero_init_residual = false);

  /// x: [N, in_channels, H, W]. Returns [N, width, H / stride, W / stride].
  Tensor forward(const Tensor& x) override;

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Downsample* downsample;  ///< null where the block keeps the shape
};

/// 1x1 down, 3x3, 1x1 up beside a shortcut: the block of ResNet-50, 101 and 152.
class Bottleneck : public Layer {
 public:
  static constexpr int64_t kExpansion = 4;
  Bottleneck(int64_t in_channels, int64_t width, int64_t stride, bool zero_init_residual = false);

  /// x: [N, in_channels, H, W]. Returns [N, 4 * width, H / stride, W / stride].
  Tensor forward(const Tensor& x) override;

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Conv2d& conv3;
  BatchNorm2d& bn3;
  Downsample* downsample;  ///< null where the block keeps the shape
};

class ResNet : public Layer {
 public:
  enum class Block { kBasic, kBottleneck };

  /// blocks: the number of blocks in each of the four stages.
  ResNet(Block block, const std::array<int64_t, 4>& blocks, const ResNetOptions& options = {});

  /// x: [N, 3, H, W] with H and W of at least 1. Returns logits [N, num_classes]. The four stages run at 1/4,
  /// 1/8, 1/16 and 1/32 of the image's size.
  Tensor forward(const Tensor& x) override;

  Conv2d& conv1;
  BatchNorm2d& bn1;
  MaxPool2d& maxpool;
  Sequential& layer1;
  Sequential& layer2;
  Sequential& layer3;
  Sequential& layer4;
  AdaptiveAvgPool2d& avgpool;
  Dropout* dropout;  ///< null without ResNetOptions::dropout
  Linear& fc;
};

/// 11,689,512 parameters at 1000 classes.
ResNet resnet18(const ResNetOptions& options = {});
/// 21,797,672 parameters at 1000 classes.
ResNet resnet34(const ResNetOptions& options = {});
/// 25,557,032 parameters at 1000 classes.
ResNet resnet50(const ResNetOptions& options = {});
/// 44,549,160 parameters at 1000 classes.
ResNet resnet101(const ResNetOptions& options = {});
/// 60,192,808 parameters at 1000 classes.
ResNet resnet152(const ResNetOptions& options = {});
/// Returns the network of that name: "resnet50". Throws Error for an unknown name.
ResNet make_resnet(std::string_view architecture, const ResNetOptions& options = {});

/// Returns the part of a ResNet that a parameter belongs to, for learning rates by layer: "stem" (conv1,
/// bn1), one of the blocks "layer1.0", "layer1.1", ..., or "fc".
std::string resnet_layer_of(const std::string& parameter);

}  // namespace taper
