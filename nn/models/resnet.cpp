#include "taper/nn/models/resnet.h"  // spine 60 (docs/0-the-spine.md)

#include "taper/core/base/printable.h"
#include "taper/nn/init.h"
#include "taper/nn/layers/conv_batch_norm.h"

namespace taper {
namespace {

std::shared_ptr<Downsample> make_downsample(int64_t in_channels, int64_t out_channels, int64_t stride) {
  if (stride == 1 && in_channels == out_channels) return nullptr;
  return std::make_shared<Downsample>(in_channels, out_channels, stride);
}

/// One stage: its first block changes the shape, the others keep it.
template <class B>
std::shared_ptr<Sequential> make_stage(int64_t in_channels, int64_t width, int64_t stride, int64_t blocks,
                                       bool zero_init_residual) {
  auto stage = std::make_shared<Sequential>();
  for (int64_t i = 0; i < blocks; ++i) {
    stage->add<B>(i == 0 ? in_channels : width * B::kExpansion, width, i == 0 ? stride : 1,
                  zero_init_residual);
  }
  return stage;
}

std::shared_ptr<Sequential> make_stage(ResNet::Block block, int64_t index, int64_t blocks,
                                       const ResNetOptions& options) {
  TAPER_CHECK(blocks >= 1, "ResNet: stage {} needs at least one block, got {}", index + 1, blocks);
  const int64_t width = 64 << index;
  const int64_t stride = index == 0 ? 1 : 2;
  const auto inputs = [&](int64_t expansion) { return index == 0 ? 64 : width / 2 * expansion; };
  if (block == ResNet::Block::kBasic) {
    return make_stage<BasicBlock>(inputs(BasicBlock::kExpansion), width, stride, blocks,
                                  options.zero_init_residual);
  }
  return make_stage<Bottleneck>(inputs(Bottleneck::kExpansion), width, stride, blocks,
                                options.zero_init_residual);
}

int64_t features(ResNet::Block block) {
  return 512 * (block == ResNet::Block::kBasic ? BasicBlock::kExpansion : Bottleneck::kExpansion);
}

}  // namespace

Downsample::Downsample(int64_t in_channels, int64_t out_channels, int64_t stride)
    : conv(register_module<Conv2d>("0", in_channels, out_channels, 1, Conv2dOptions{.stride = stride},
                                   kNoBias)),
      norm(register_module<BatchNorm2d>("1", out_channels)) {}

Tensor Downsample::forward(const Tensor& x) {
  return conv_batch_norm(conv, norm, x);
}

BasicBlock::BasicBlock(int64_t in_channels, int64_t width, int64_t stride, bool zero_init_residual)
    : conv1(register_module<Conv2d>("conv1", in_channels, width, 3,
                                    Conv2dOptions{.stride = stride, .padding = 1}, kNoBias)),
      bn1(register_module<BatchNorm2d>("bn1", width)),
      conv2(register_module<Conv2d>("conv2", width, width, 3, Conv2dOptions{.padding = 1}, kNoBias)),
      bn2(register_module<BatchNorm2d>("bn2", width)),
      downsample(register_optional("downsample", make_downsample(in_channels, width, stride))) {
  if (zero_init_residual) init::constant_(bn2.weight, 0);
}

Tensor BasicBlock::forward(const Tensor& x) {
  const Tensor shortcut = downsample ? (*downsample)(x) : x;
  const Tensor y = conv_batch_norm(conv1, bn1, x, {.relu = true});
  return conv_batch_norm(conv2, bn2, y, {.residual = shortcut, .relu = true});
}

Bottleneck::Bottleneck(int64_t in_channels, int64_t width, int64_t stride, bool zero_init_residual)
    : conv1(register_module<Conv2d>("conv1", in_channels, width, 1, Conv2dOptions{}, kNoBias)),
      bn1(register_module<BatchNorm2d>("bn1", width)),
      conv2(register_module<Conv2d>("conv2", width, width, 3, Conv2dOptions{.stride = stride, .padding = 1},
                                    kNoBias)),
      bn2(register_module<BatchNorm2d>("bn2", width)),
      conv3(register_module<Conv2d>("conv3", width, width * kExpansion, 1, Conv2dOptions{}, kNoBias)),
      bn3(register_module<BatchNorm2d>("bn3", width * kExpansion)),
      downsample(register_optional("downsample", make_downsample(in_channels, width * kExpansion, stride))) {
  if (zero_init_residual) init::constant_(bn3.weight, 0);
}

Tensor Bottleneck::forward(const Tensor& x) {
  const Tensor shortcut = downsample ? (*downsample)(x) : x;
  const Tensor narrow = conv_batch_norm(conv1, bn1, x, {.relu = true});
  const Tensor y = conv_batch_norm(conv2, bn2, narrow, {.relu = true});
  return conv_batch_norm(conv3, bn3, y, {.residual = shortcut, .relu = true});
}

ResNet::ResNet(Block block, const std::array<int64_t, 4>& blocks, const ResNetOptions& options)
    : conv1(register_module<Conv2d>("conv1", 3, 64, 7, Conv2dOptions{.stride = 2, .padding = 3}, kNoBias)),
      bn1(register_module<BatchNorm2d>("bn1", 64)),
      maxpool(
          register_module<MaxPool2d>("maxpool", MaxPool2dOptions{.kernel = 3, .stride = 2, .padding = 1})),
      layer1(register_module("layer1", make_stage(block, 0, blocks[0], options))),
      layer2(register_module("layer2", make_stage(block, 1, blocks[1], options))),
      layer3(register_module("layer3", make_stage(block, 2, blocks[2], options))),
      layer4(register_module("layer4", make_stage(block, 3, blocks[3], options))),
      avgpool(register_module<AdaptiveAvgPool2d>("avgpool", 1)),
      dropout(register_optional("dropout",
                                options.dropout > 0 ? std::make_shared<Dropout>(options.dropout) : nullptr)),
      fc(register_module<Linear>("fc", features(block), options.num_classes)) {
  for (const Tensor& weight : parameters()) {
    if (weight.dim() != 4) continue;  // only convolutions have four axes
    init::kaiming_normal_(weight,
                          {.mode = init::FanMode::kFanOut, .nonlinearity = init::Nonlinearity::kRelu});
  }
}

Tensor ResNet::forward(const Tensor& x) {
  const Tensor stem = maxpool(conv_batch_norm(conv1, bn1, x, {.relu = true}));
  const Tensor y = layer4(layer3(layer2(layer1(stem))));
  const Tensor features = avgpool(y).flatten(1);
  return fc(dropout ? (*dropout)(features) : features);
}

ResNet resnet18(const ResNetOptions& options) {
  return ResNet(ResNet::Block::kBasic, {2, 2, 2, 2}, options);
}
ResNet resnet34(const ResNetOptions& options) {
  return ResNet(ResNet::Block::kBasic, {3, 4, 6, 3}, options);
}
ResNet resnet50(const ResNetOptions& options) {
  return ResNet(ResNet::Block::kBottleneck, {3, 4, 6, 3}, options);
}
ResNet resnet101(const ResNetOptions& options) {
  return ResNet(ResNet::Block::kBottleneck, {3, 4, 23, 3}, options);
}
ResNet resnet152(const ResNetOptions& options) {
  return ResNet(ResNet::Block::kBottleneck, {3, 8, 36, 3}, options);
}

ResNet make_resnet(std::string_view architecture, const ResNetOptions& options) {
  if (architecture == "resnet18") return resnet18(options);
  if (architecture == "resnet34") return resnet34(options);
  if (architecture == "resnet50") return resnet50(options);
  if (architecture == "resnet101") return resnet101(options);
  if (architecture == "resnet152") return resnet152(options);
  fail("{} is not an architecture Taper knows; use resnet18, resnet34, resnet50, resnet101 or resnet152",
       quote_name(architecture));
}

std::string resnet_layer_of(const std::string& parameter) {
  if (parameter.starts_with("fc.")) return "fc";
  if (!parameter.starts_with("layer")) return "stem";
  const size_t block = parameter.find('.') + 1;
  return parameter.substr(0, parameter.find('.', block));
}

}  // namespace taper
