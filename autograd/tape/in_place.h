#pragma once
// In-place writes through views. Writing into a view changes its base's history too: the base's gradient must
// skip the overwritten part. And every other view of that base then has an outdated history, which it renews
// when next asked. PyTorch's counterpart: CopySlices in torch/csrc/autograd/functions/tensor.h.

#include "taper/autograd/tape/node.h"

namespace taper::detail {

/// Makes `node` (whose first input was `view` before the write) the history of `view` and of its base.
void rebase_view(const Tensor& view, const std::shared_ptr<Node>& node);

/// Gives `view` the history "this part of its base", after the base was written to.
void regenerate_view_history(const Tensor& view);

}  // namespace taper::detail
