#include "taper/nn/report/accuracy.h"

#include <algorithm>

#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {

int64_t correct_in_top_k(const Tensor& logits, const Tensor& target, int64_t k) {
  TAPER_CHECK(logits.dim() == 2 && target.dim() == 1 && logits.size(0) == target.size(0),
              "correct_in_top_k: logits must be [N, C] and target [N], got {} and {}", logits.shape(),
              target.shape());
  TAPER_CHECK(k >= 1, "correct_in_top_k: k must be at least 1, got {}", k);
  if (logits.numel() == 0) return 0;
  const Tensor best = ops::topk(logits, std::min(k, logits.size(1)), 1).indices;
  const Tensor hits = ops::eq(best, views::unsqueeze(target, 1));
  return int64_t(ops::item(ops::sum(hits)));  // a class is among the best once at most
}

void Accuracy::add(const Tensor& logits, const Tensor& target) {
  top1_ += correct_in_top_k(logits, target, 1);
  top5_ += correct_in_top_k(logits, target, 5);
  count_ += target.size(0);
}

}  // namespace taper
