#pragma once
// The engines of a vendor's library as candidates for a convolution on the GPU.
//
// Listing engines is quick, making one ready may not be: cuDNN compiles some for a second. So a plan is built
// when its candidate first runs. A process that recalls its choice from the algorithm file builds only that
// one, and if another process has kept its compiled plan, not even that.

#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// What conv_library() offers for `call`, in its order; empty if it offers nothing, or if it fails, of which
/// warn() tells. Estimated costs: 1.2 to 1.8, between the vendor's matrix products and Taper's kernels.
std::vector<Candidate<Conv2dCall>> conv2d_library_candidates(const Conv2dCall& call);

}  // namespace taper::ops
