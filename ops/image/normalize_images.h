#pragma once
// From 8-bit pixels to a network's input, in one pass over memory. PyTorch's counterparts: ToTensor,
// Normalize, RandomCrop and RandomHorizontalFlip of torchvision/transforms/v2.

#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

struct NormalizeImagesOptions {
  /// One for each channel of the images.
  std::vector<float> mean = {0.485f, 0.456f, 0.406f};
  std::vector<float> std = {0.229f, 0.224f, 0.225f};
  /// Size of the piece that is cut out; 0: the images' size.
  int64_t height = 0, width = 0;
  DType dtype = kFloat32;
  MemoryFormat memory_format = kChannelsLast;
};

/// pixels: [N, H, W, C] u8, row-major, C = 1 or 3. Returns y [N, C, height, width] in the options' dtype
/// (f32, f16, bf16 or f64) and format. With q' = width - 1 - q in mirrored images and q in others,
///   y[n, c, p, q] = (pixels[n, top + p, left + q', c] / 255 - mean[c]) / std[c]
/// rounded to f32 after each step. corners: [N, 2] i32, (top, left) of each image's piece, which may reach
/// over the edge, where pixels are 0; undefined: (0, 0). mirrored: [N] bool; undefined: none. Both on the
/// pixels' device. Throws Error for anything else.
Tensor normalize_images(const Tensor& pixels, const NormalizeImagesOptions& options = {},
                        const Tensor& corners = {}, const Tensor& mirrored = {});

}  // namespace taper::ops
