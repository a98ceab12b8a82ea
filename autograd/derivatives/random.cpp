#include "taper/autograd/derivatives/random.h"

#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/tape/tape.h"

namespace taper {

Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  TAPER_CHECK(p >= 0 && p <= 1, "dropout: the probability must be between 0 and 1, got {}", p);
  if (!training || p == 0) return x;
  Tape tape("dropout", {x}, {{"p", p}});
  const auto [y, mask] = ops::dropout(x, p, generator);
  return tape.record(y, {mask}, [p](const Backward& bw) -> Grads {
    const double scale = p == 1 ? 0 : 1 / (1 - p);
    return {where(bw.saved(0), mul(bw.grad(), scale), 0.0)};
  });
}

}  // namespace taper
