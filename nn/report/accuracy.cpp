#include "taper/nn/report/accuracy.h"

#include <algorithm>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {

Tensor correct_in_top_k(const Tensor& logits, const Tensor& target, int64_t k) {
  TAPER_CHECK(logits.dim() == 2 && target.dim() == 1 && logits.size(0) == target.size(0),
              "correct_in_top_k: logits must be [N, C] and target [N], got {} and {}", logits.shape(),
              target.shape());
  TAPER_CHECK(k >= 1, "correct_in_top_k: k must be at least 1, got {}", k);
  if (logits.numel() == 0) return ops::zeros({}, {.dtype = kInt64, .device = logits.device()});
  const auto [values, best] = ops::topk(logits, std::min(k, logits.size(1)), 1);
  const Tensor hits = ops::eq(best, views::unsqueeze(target, 1));
  // A class is among the best at most once. NaN sorts first, but is no score.
  return ops::sum(ops::logical_and(hits, ops::eq(values, values)));
}

void Accuracy::add(const Tensor& logits, const Tensor& target) {
  const Tensor first = correct_in_top_k(logits, target, 1), five = correct_in_top_k(logits, target, 5);
  top1_ = top1_.defined() ? ops::add(top1_, first) : first;
  top5_ = top5_.defined() ? ops::add(top5_, five) : five;
  count_ += target.size(0);
}

int64_t Accuracy::correct1() const {
  return top1_.defined() ? ops::item<int64_t>(top1_) : 0;
}

int64_t Accuracy::correct5() const {
  return top5_.defined() ? ops::item<int64_t>(top5_) : 0;
}

}  // namespace taper
