#include "taper/nn/data/batch.h"

#include "taper/core/views.h"

namespace taper {

Batch Batch::slice(int64_t begin, int64_t end) const {
  const auto cut = [&](const Tensor& whole) {
    return whole.defined() ? views::narrow(whole, 0, begin, end - begin) : Tensor();
  };
  Batch part{.images = cut(images),
             .labels = cut(labels),
             .step = step,
             .epoch = epoch,
             .probabilities = cut(probabilities),
             .erased = cut(erased)};
  if (!indices.empty()) part.indices.assign(indices.begin() + begin, indices.begin() + end);
  return part;
}

}  // namespace taper
