#pragma once

#include "taper/core/tensor.h"

namespace taper {

/// Returns the number of rows of logits [N, C] whose target [N] (i64) is among the k largest (all C if k is
/// larger): an i64 tensor without dimensions, on the logits' device. A target whose logit is NaN is never
/// counted. Throws Error if the shapes do not fit.
Tensor correct_in_top_k(const Tensor& logits, const Tensor& target, int64_t k);

/// Top-1 and top-5 accuracy over many batches. On a GPU adding only enqueues; asking for the result waits.
class Accuracy {
 public:
  void add(const Tensor& logits, const Tensor& target);
  int64_t count() const { return count_; }
  /// Returns the number of rows whose class is the likeliest, or among the five likeliest ones.
  int64_t correct1() const;
  int64_t correct5() const;
  /// A fraction, 0 to 1; 0 before the first batch.
  double top1() const { return fraction(correct1()); }
  double top5() const { return fraction(correct5()); }

 private:
  double fraction(int64_t correct) const { return count_ == 0 ? 0 : double(correct) / double(count_); }
  int64_t count_ = 0;
  Tensor top1_, top5_;  // i64, without dimensions
};

}  // namespace taper
