#include "taper/ops/loss/class_targets.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"

namespace taper::ops {
namespace {

void check_values_cpu(std::string_view op, std::string_view name, const Tensor& scores, const Tensor& target,
                      int64_t ignore_index) {
  const int64_t classes = scores.size(class_axis(scores));
  const Tensor dense = contiguous(target);
  const int64_t* values = dense.data<int64_t>();
  for (int64_t i = 0; i < dense.numel(); ++i) {
    if ((values[i] >= 0 && values[i] < classes) || values[i] == ignore_index) continue;
    Dims position = target.shape();
    int64_t rest = i;
    for (int64_t axis = target.dim() - 1; axis >= 0; --axis) {
      position[axis] = rest % target.shape()[axis];
      rest /= target.shape()[axis];
    }
    fail("{}: target{} is {}, but {} {} have classes 0 to {} (ignore_index is {})", op, position, values[i],
         name, scores.shape(), classes - 1, ignore_index);
  }
}

}  // namespace

void check_class_weight(std::string_view op, std::string_view name, const Tensor& scores,
                        const Tensor& weight) {
  const int64_t classes = scores.size(class_axis(scores));
  TAPER_CHECK(!weight.defined() || (weight.shape() == Shape{classes} && is_floating_point(weight.dtype())),
              "{}: weight must be [{}] floating point for {} {}, got {} {}", op, classes, name,
              scores.shape(), weight.shape(), weight.dtype());
}

void check_class_targets(std::string_view op, std::string_view name, const Tensor& scores,
                         const Tensor& target, const Tensor& weight, int64_t ignore_index) {
  check_floating_point(op, scores);
  TAPER_CHECK(target.dtype() == kInt64,
              "{}: target must be i64 class indices, got {}; convert with .to(kInt64)", op, target.dtype());
  TAPER_CHECK(scores.dim() >= 1, "{}: {} must be [N, C], [N, C, d1, ...] or [C], got a scalar", op, name);
  check_same_device(op, scores, target, weight);
  Shape expected = scores.shape();
  expected.erase(class_axis(scores));
  TAPER_CHECK(target.shape() == expected, "{}: target must be {} for {} {}, got {}", op, expected, name,
              scores.shape(), target.shape());
  const int64_t classes = scores.size(class_axis(scores));
  TAPER_CHECK(classes > 0, "{}: {} {} have no classes", op, name, scores.shape());
  check_class_weight(op, name, scores, weight);
  // On the GPU the kernels check the values: reading them here would wait for the device.
  if (scores.device().is_cpu()) check_values_cpu(op, name, scores, target, ignore_index);
}

}  // namespace taper::ops
