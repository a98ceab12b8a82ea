#include "taper/ops/elementwise/elementwise_op.h"

namespace taper::ops {

std::string_view name(ElementwiseOp op) {
  static constexpr std::string_view kNames[] = {
#define TAPER_NAME(op, name) name,
      TAPER_ELEMENTWISE_OPS(TAPER_NAME)
#undef TAPER_NAME
  };
  return kNames[size_t(op)];
}

}  // namespace taper::ops
