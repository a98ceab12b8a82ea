#pragma once
// Collectives in host memory, made of messages between ranks. Large ones go round a ring: each rank sends to the next
// one only, and all links are busy all the time. Reductions pass 2 (n - 1) / n of the bytes over each link, the least
// that can be (Patarasuk & Yuan 2009). What arrives is on its way again while the rest is still coming.
// docs/15-many-gpus-one-gradient.md draws it. PyTorch's counterpart is Gloo, gloo/allreduce.cc.

#include <memory>

#include "taper/ops/collective/roll_call.h"
#include "taper/ops/collective/transport.h"

namespace taper {

/// Used by one thread, one call after the other.
class HostCollectives {
 public:
  HostCollectives(std::unique_ptr<Transport> transport, CollectiveTimeout timeout)
      : transport_(std::move(transport)), timeout_(timeout), roll_call_(*transport_, timeout) {}
  ~HostCollectives();
  HostCollectives(const HostCollectives&) = delete;
  HostCollectives& operator=(const HostCollectives&) = delete;

  int rank() const { return transport_->rank(); }
  int size() const { return transport_->size(); }
  const std::string& host() const { return transport_->host(); }
  RollCall& roll_call() { return roll_call_; }

  /// Carries out `call` on the elements at `data`, once all ranks call the same. All-reduce: replaces the elements by
  /// the reduction over all ranks; the same bits on all. Broadcast: by those of the root. All-gather: `data` has room for
  /// the elements of all ranks, and this rank's are in their place. Reduce-scatter: `data` has elements for all ranks;
  /// this rank's part becomes the reduction, and the others are left with anything. Reductions take f32, f64, i32, i64
  /// and, added in f32 and rounded once, f16 and bf16. Throws CollectiveError, which names the rank that failed.
  void run(const CollectiveCall& call, void* data);

  /// Ends all ranks' processes, this one with `exit_code`.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  std::unique_ptr<Transport> transport_;
  CollectiveTimeout timeout_;
  RollCall roll_call_;
};

}  // namespace taper
