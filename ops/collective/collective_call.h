#pragma once
// CollectiveCall: what a rank asks of the others.

#include <chrono>
#include <cstdint>
#include <string>

#include "taper/core/base/dtype.h"
#include "taper/core/base/error.h"

namespace taper {

enum class ReduceOp : uint8_t { kSum, kMean, kMax };

/// A collective failed: a rank is missing, or calls another one. The group is of no use afterwards.
class CollectiveError : public Error {
 public:
  using Error::Error;
};

enum class CollectiveKind : uint8_t { kAllReduce, kBroadcast, kAllGather, kReduceScatter };

/// All ranks must make the same calls in the same order.
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;  ///< of an all-reduce or reduce-scatter
  int root = 0;                  ///< of a broadcast
  DType dtype = kUInt8;
  int64_t count = 0;       ///< elements; of an all-gather or reduce-scatter, those of one rank
  std::string label = {};  ///< what for: "gradients 0"
  int64_t number = 0;      ///< of the group's calls, from 1

  bool operator==(const CollectiveCall&) const = default;
  /// Returns "all-reduce", "all-reduce (max)", "broadcast", "all-gather" or "reduce-scatter".
  std::string_view name() const;
  /// Returns "all-reduce 7 of 1000 f32 (gradients 0)".
  std::string describe() const;
};

using CollectiveTimeout = std::chrono::duration<double>;     ///< seconds
constexpr CollectiveTimeout kDefaultCollectiveTimeout{600};  // as in c10d/Types.hpp

}  // namespace taper
