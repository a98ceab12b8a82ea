#include "taper/nn/data/mix.h"

#include <algorithm>
#include <cmath>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/index/index.h"
#include "taper/ops/index/join.h"

namespace taper {
namespace {

/// Returns the box that CutMix takes for a share of `own`: of the other share's area around a random point, cut off
/// where it leaves the image, its sides rounded as torchvision rounds them.
Box draw_box(double own, int width, int height, RandomStream& random) {
  const int x = int(random.below(uint32_t(width))), y = int(random.below(uint32_t(height)));
  const double half = 0.5 * std::sqrt(1 - own);
  const int half_width = int(half * width), half_height = int(half * height);
  const int left = std::max(x - half_width, 0), right = std::min(x + half_width, width);
  const int top = std::max(y - half_height, 0), bottom = std::min(y + half_height, height);
  return {left, top, right - left, bottom - top};
}

Tensor region(const Tensor& images, const Box& box) {
  return views::narrow(views::narrow(images, 2, box.top, box.height), 3, box.left, box.width);
}

}  // namespace

Mix draw_mix(const MixOptions& options, int width, int height, RandomStream& random) {
  const bool cut = options.cutmix > 0 && (options.mixup == 0 || random.below(2) == 1);
  const double share = random.symmetric_beta(cut ? options.cutmix : options.mixup);
  if (!cut) return {.share = share};
  const Box box = draw_box(share, width, height, random);
  return {.cut = true, .share = 1 - double(box.width) * box.height / (double(width) * height), .box = box};
}

Tensor roll_by_one(const Tensor& x) {
  const int64_t n = x.size(0);
  if (n < 2) return x;
  return ops::cat({views::narrow(x, 0, n - 1, 1), views::narrow(x, 0, 0, n - 1)});
}

void mix(Batch& batch, const Mix& how, int64_t classes) {
  const Tensor images = batch.images;
  const DType dtype = images.dtype() == kFloat64 ? kFloat64 : kFloat32;
  const Tensor certain = ops::cast(ops::one_hot(batch.labels, classes), dtype);
  batch.probabilities = ops::lerp(roll_by_one(certain), certain, how.share);
  if (!how.cut) {
    batch.images = ops::lerp(roll_by_one(images), images, how.share);
  } else if (how.box.width > 0 && how.box.height > 0) {
    batch.images = ops::clone(images);
    ops::copy_(region(batch.images, how.box), roll_by_one(region(images, how.box)));
  }
}

}  // namespace taper
