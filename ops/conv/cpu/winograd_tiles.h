#pragma once
// Where the tiles of Winograd convolution lie in a batch of images.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "taper/ops/conv/cpu/conv_plan.h"
#include "taper/ops/simd.h"

namespace taper::ops {

/// Squares of side x side pixels of a channels_last image batch, numbered by image, row and column. They are
/// `step` apart; the first is at (origin, origin), which may be outside.
struct TileGrid {
  ImageBatch image;
  int64_t side = 0, step = 0;
  int64_t origin_y = 0, origin_x = 0;
  int64_t rows = 0, cols = 0;

  int64_t size() const { return image.n * rows * cols; }

  /// Returns pointers to the first channel of a tile's pixels; `outside` for pixels beyond the image.
  template <class T>
  void pixels(int64_t tile, T* data, T* outside, T** pointers) const {
    const int64_t y0 = origin_y + tile / cols % rows * step, x0 = origin_x + tile % cols * step;
    T* const picture = data + tile / cols / rows * image.height * image.width * image.channels;
    for (int64_t i = 0; i < side; ++i) {
      for (int64_t j = 0; j < side; ++j) {
        const int64_t y = y0 + i, x = x0 + j;
        const bool inside = y >= 0 && y < image.height && x >= 0 && x < image.width;
        *pointers++ = inside ? picture + (y * image.width + x) * image.channels : outside;
      }
    }
  }
};

}  // namespace taper::ops
