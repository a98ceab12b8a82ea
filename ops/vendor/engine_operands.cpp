#include "taper/ops/vendor/engine_operands.h"

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/ops/algorithms/algorithm_problem.h"

namespace taper::ops {

void EngineOperands::push(const EngineOperand& operand) {
  TAPER_CHECK(count_ < kMost, "a library's engine takes at most {} operands", kMost);
  operands_[count_++] = operand;
}

const EngineOperand* EngineOperands::find(Operand operand) const {
  const auto found = std::find_if(all().begin(), all().end(),
                                  [&](const EngineOperand& other) { return other.operand == operand; });
  return found == all().end() ? nullptr : &*found;
}

void* EngineOperands::address(Operand operand) const {
  const EngineOperand* found = find(operand);
  return found == nullptr ? nullptr : found->address;
}

int64_t EngineOperands::alignment() const {
  int64_t alignment = 256;
  for (const EngineOperand& operand : all())
    alignment = std::min(alignment, common_alignment({operand.address}));
  return alignment;
}

}  // namespace taper::ops
