#pragma once

#include "taper/core/tensor.h"

namespace taper {

/// How many rows of logits [N, C] have their target [N] (i64) among the k largest; among all C if k is
/// larger. Throws Error if the shapes do not fit.
int64_t correct_in_top_k(const Tensor& logits, const Tensor& target, int64_t k);

/// Top-1 and top-5 accuracy over many batches.
class Accuracy {
 public:
  void add(const Tensor& logits, const Tensor& target);
  int64_t count() const { return count_; }
  /// Fractions, 0 to 1; 0 before the first batch.
  double top1() const { return fraction(top1_); }
  double top5() const { return fraction(top5_); }

 private:
  double fraction(int64_t correct) const { return count_ == 0 ? 0 : double(correct) / double(count_); }
  int64_t count_ = 0, top1_ = 0, top5_ = 0;
};

}  // namespace taper
