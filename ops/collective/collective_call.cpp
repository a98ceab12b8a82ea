#include "taper/ops/collective/collective_call.h"

#include <fmt/format.h>

namespace taper {

std::string_view CollectiveCall::name() const {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return op == ReduceOp::kMax ? "all-reduce (max)" : "all-reduce";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllGather:
      return "all-gather";
    case CollectiveKind::kReduceScatter:
      return "reduce-scatter";
  }
  return "collective";
}

std::string CollectiveCall::describe() const {
  return fmt::format("{} {} of {} {}{}", name(), number, count, dtype,
                     label.empty() ? "" : fmt::format(" ({})", label));
}

}  // namespace taper
