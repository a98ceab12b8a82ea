#pragma once
// A convolution and the batch norm after it, as models call the pair.

#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"

namespace taper {

/// Returns norm(conv(x), fusion). In training the convolution gathers the batch's statistics while it writes
/// its result, so that the norm need not read the result for them. In an InferenceForm
/// (nn/serve/inference_form.h) the pair is one op.
Tensor conv_batch_norm(Conv2d& conv, BatchNorm2d& norm, const Tensor& x, const BatchNormFusion& fusion = {});

}  // namespace taper
