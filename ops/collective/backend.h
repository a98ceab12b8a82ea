#pragma once
// CollectiveBackend: how the ranks of a ProcessGroup reach each other. A back end works in host memory, in one
// thread, one call after the other; ProcessGroup does the rest. PyTorch's counterpart: c10d/Backend.hpp.

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

enum class CollectiveKind : uint8_t { kAllReduce, kBroadcast, kAllGather };

/// What a rank asks of the others. All ranks must ask it in the same order.
struct CollectiveCall {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  ReduceOp op = ReduceOp::kSum;  ///< of an all-reduce
  int root = 0;                  ///< of a broadcast
  DType dtype = kUInt8;
  int64_t count = 0;       ///< elements; of an all-gather, those of one rank
  std::string label = {};  ///< what for: "gradients 0"
  int64_t number = 0;      ///< of the group's calls, from 1

  bool operator==(const CollectiveCall&) const = default;
  /// Returns "all-reduce 7 of 1000 f32 (gradients 0)".
  std::string describe() const;
};

class CollectiveBackend {
 public:
  virtual ~CollectiveBackend() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Carries out `call` on the elements at `data`: replaces them by those of the root or by the result of the
  /// reduction (sum or max; f32, f64, i32 or i64). For an all-gather `data` has room for the elements of all ranks, and
  /// this rank's are in their place. Throws CollectiveError if the ranks do not call the same, or one does not come in
  /// time; the message names it.
  virtual void run(const CollectiveCall& call, void* data) = 0;

  /// Ends all ranks' processes, this one with `exit_code`.
  [[noreturn]] virtual void abort(int exit_code) noexcept = 0;
};

using CollectiveTimeout = std::chrono::duration<double>;     ///< seconds
constexpr CollectiveTimeout kDefaultCollectiveTimeout{600};  // as in c10d/Types.hpp

}  // namespace taper
