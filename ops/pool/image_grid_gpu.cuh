#pragma once
// The part of a batch of channels_last images that a thread works on. For .cu files only.

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/channels_gpu.cuh"

namespace taper::ops {

inline constexpr unsigned kImageBlock = 256;  // threads

/// One thread for each element of images x rows x columns x packs of channels. Packs are innermost, so that a
/// warp touches contiguous memory. Blocks of kImageBlock threads. A launch takes fewer than 2^31 elements.
struct ImageGrid {
  uint32_t count = 0;  // elements of this launch
  int64_t first_image = 0;
  FastDivisor rows, columns, packs;

  struct Place {
    int64_t image;
    int row, column, pack;
  };
  __device__ __forceinline__ Place place(uint32_t index) const {
    const uint32_t pixel = packs.quotient(index), line = columns.quotient(pixel), image = rows.quotient(line);
    return {first_image + image, int(line - image * rows.divisor), int(pixel - line * columns.divisor),
            int(index - pixel * packs.divisor)};
  }
};

/// Calls launch(ImageGrid) for all images, as many at a time as one launch takes; not at all without
/// elements. Throws Error if one image is too large.
template <class Launch>
void for_each_image_grid(int64_t images, int64_t rows, int64_t columns, int64_t packs, Launch&& launch) {
  const int64_t per_image = rows * columns * packs;
  if (images == 0 || per_image == 0) return;
  TAPER_CHECK(per_image <= kMaxGpuLoop, "pooling: an image of {} x {} pixels is too large for the GPU", rows,
              columns);
  ImageGrid grid{.rows = FastDivisor(uint32_t(rows)),
                 .columns = FastDivisor(uint32_t(columns)),
                 .packs = FastDivisor(uint32_t(packs))};
  const int64_t at_once = kMaxGpuLoop / per_image;
  for (; grid.first_image < images; grid.first_image += at_once) {
    grid.count = uint32_t(std::min(at_once, images - grid.first_image) * per_image);
    launch(grid);
  }
}

inline unsigned image_blocks(const ImageGrid& grid) {
  return ceil_div(grid.count, kImageBlock);
}

}  // namespace taper::ops
