#include "taper/nn/data/finish_batch.h"

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/image/normalize_images.h"

namespace taper {

void BatchFinisher::operator()(Batch& batch) {
  const Device device = options_.device;
  for (Tensor* tensor : {&batch.images, &batch.labels, &batch.erased})
    if (tensor->defined() && device.is_cuda()) *tensor = ops::to_device(*tensor, device, true);
  batch.images = ops::normalize_images(batch.images, {.dtype = options_.dtype});
  if (batch.erased.defined()) erase(batch);
  if (!options_.mix.any()) return;
  RandomStream random(options_.seed, RandomPurpose::kMix, uint64_t(batch.epoch), uint64_t(batch.step));
  const int height = int(batch.images.size(2)), width = int(batch.images.size(3));
  mix(batch, draw_mix(options_.mix, width, height, random), options_.mix.classes);
}

/// Sets the rectangles to 0, which normalised images have on average.
void BatchFinisher::erase(Batch& batch) {
  const int64_t n = batch.size(), side = batch.images.size(3);
  if (!positions_.defined()) {  // once, because the numbers come from the host
    positions_ = ops::arange(0, side, 1, {.dtype = kInt64, .device = batch.images.device()});
  }
  const auto edge = [&](int64_t which) { return views::narrow(batch.erased, 1, which, 1); };
  const auto between = [&](int64_t first, int64_t last) {  // [N, side]
    return ops::logical_and(ops::ge(positions_, edge(first)), ops::lt(positions_, edge(last)));
  };
  const Tensor inside = ops::logical_and(views::view(between(0, 2), {n, 1, side, 1}),
                                         views::view(between(1, 3), {n, 1, 1, side}));
  batch.images = ops::where(inside, 0, batch.images);
}

}  // namespace taper
