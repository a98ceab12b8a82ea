#pragma once
// Convolutions of single pixels (1x1, no stride, no padding) on the GPU. Channels_last images are matrices in
// place, one row of channels for each pixel, so all three passes are plain matrix products.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/gemm/gemm_call.h"

namespace taper::ops {

bool is_plain_product(const Conv2dGeometry& conv);

/// Returns `call`, a plain product, as matrix products: one for each group.
GemmCall product_of(const Conv2dCall& call);

/// Returns the algorithms of product_of(call).
std::vector<Algorithm> conv2d_product_algorithms(const Conv2dCall& call);

}  // namespace taper::ops
