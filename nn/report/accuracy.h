#pragma once

#include "taper/core/tensor.h"

namespace taper {

/// How many rows of logits [N, C] have their target [N] (i64) among the k largest, as an i64 tensor without
/// dimensions on their device; among all C if k is larger. A target whose logit is NaN is never counted.
/// Throws Error if the shapes do not fit.
Tensor correct_in_top_k(const Tensor& logits, const Tensor& target, int64_t k);

/// Top-1 and top-5 accuracy over many batches. On a GPU, adding enqueues work and waits for nothing; asking
/// for the result waits.
class Accuracy {
 public:
  void add(const Tensor& logits, const Tensor& target);
  int64_t count() const { return count_; }
  /// Fractions, 0 to 1; 0 before the first batch.
  double top1() const { return fraction(top1_); }
  double top5() const { return fraction(top5_); }

 private:
  double fraction(const Tensor& correct) const;
  int64_t count_ = 0;
  Tensor top1_, top5_;  // i64, without dimensions
};

}  // namespace taper
