#include "taper/nn/parallel/sync_batch_norm.h"

#include "taper/nn/layers/batch_norm2d.h"

namespace taper {

int64_t synchronise_batch_norms(Module& model, ProcessGroup* group) {
  int64_t count = 0;
  model.apply([&](Module& part) {
    auto* norm = dynamic_cast<BatchNorm2d*>(&part);
    if (norm == nullptr) return;
    norm->synchronise(group);
    ++count;
  });
  return count;
}

}  // namespace taper
