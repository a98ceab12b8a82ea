#pragma once
// Arguments of both devices' image kernels; normalize_images.cpp has checked them.

#include "taper/ops/image/normalize_images.h"

namespace taper::ops {

struct NormalizeImagesArgs {
  Tensor pixels;             ///< [N, H, W, C] u8, row-major
  Tensor corners, mirrored;  ///< row-major, or undefined
  Tensor y;                  ///< [N, C, height, width], any float, dense in one of the formats, not empty
  std::vector<float> mean, std;
};

void normalize_images_cpu(const NormalizeImagesArgs& args);
/// Only enqueues.
void normalize_images_gpu(const NormalizeImagesArgs& args);

}  // namespace taper::ops
