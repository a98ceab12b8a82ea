#pragma once
// What both devices' picture kernels take; pictures.cpp has checked the arguments.

#include "taper/ops/image/pictures.h"

namespace taper::ops {

struct PictureArgs {
  Tensor pixels;             ///< [N, H, W, C] u8, row-major
  Tensor corners, mirrored;  ///< row-major, or undefined
  Tensor y;                  ///< [N, C, height, width], dense in one of the two formats, not empty
  std::vector<float> mean, std;
};

/// y: f32.
void normalize_pictures_cpu(const PictureArgs& args);
/// y: any float. Only enqueues.
void normalize_pictures_gpu(const PictureArgs& args);

}  // namespace taper::ops
