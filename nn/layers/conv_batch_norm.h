#pragma once
// A convolution and the batch norm after it, as models call the pair.

#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"

namespace taper {

/// norm(conv(x), fusion). In training the convolution gathers the batch's statistics while it writes its
/// result, which the norm then need not read for them; in an InferenceForm (nn/serve/inference_form.h) the
/// pair is one op.
Tensor conv_batch_norm(Conv2d& conv, BatchNorm2d& norm, const Tensor& x, const BatchNormFusion& fusion = {});

}  // namespace taper
