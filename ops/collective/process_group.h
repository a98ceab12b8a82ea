#pragma once
// ProcessGroup: programs, called ranks, that compute collectively. Each has a number from 0 to size() - 1 and calls the
// same collectives in the same order. Collectives run one after the other in a thread of the group's own, while the
// caller goes on. PyTorch's counterpart: c10d/ProcessGroup.hpp.
//
//   Collective sum = group.all_reduce(gradient, ReduceOp::kMean);
//   ...                                                            // other work
//   sum.wait();                                                    // now `gradient` is the mean over all ranks
//
// A tensor on a GPU travels through pinned host memory: the group's thread waits for the GPU, the caller does not.

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/collective/backend.h"

namespace taper {

/// A collective under way. Copies are handles on the same one.
class Collective {
 public:
  Collective() = default;

  /// Waits until the collective is done. On a GPU, enqueues the result's way to the tensor on the current stream.
  /// Throws what went wrong. Does nothing for one that was waited for.
  void wait();

 private:
  friend class ProcessGroup;
  struct State;
  explicit Collective(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

/// What collectives have cost.
struct CollectiveStatistics {
  int64_t calls = 0;
  int64_t bytes = 0;          ///< of the tensors
  double seconds = 0;         ///< that the group's thread was at work, other ranks' delays included
  double waited_seconds = 0;  ///< that callers of Collective::wait() waited: the share that nothing hid
};

class ProcessGroup {
 public:
  explicit ProcessGroup(std::unique_ptr<CollectiveBackend> backend);
  /// Finishes the collectives under way.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  int rank() const { return backend_->rank(); }
  int size() const { return backend_->size(); }

  /// Replaces x, on every rank, by the sum, mean or largest of all ranks' x. x: f32, f64, i32, i64, f16 or bf16 (the
  /// latter two are added in f32), dense, and untouched until wait(). Throws Error for another x, and for a mean of
  /// integers. `label` says in errors and profiles what it is for.
  Collective all_reduce(const Tensor& x, ReduceOp op = ReduceOp::kSum, std::string label = {});
  /// Replaces x, on every rank, by that of rank `root`. x: any dtype, dense, and untouched until wait().
  Collective broadcast(const Tensor& x, int root = 0, std::string label = {});
  /// Returns every rank's text, by rank. Waits.
  std::vector<std::string> gather_texts(const std::string& text, const std::string& label = {});
  /// Returns when all ranks have called it.
  void barrier() { gather_texts({}, "barrier"); }

  CollectiveStatistics statistics() const;

  /// Ends all ranks' processes, this one with `exit_code`.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  friend class Collective;
  Collective start(CollectiveCall call, const Tensor& x, DType wire_dtype);
  void enqueue(std::function<void()> task);
  /// In the group's thread: carries out `call` and counts it.
  void run(const CollectiveCall& call, void* data);
  void work();

  std::unique_ptr<CollectiveBackend> backend_;
  int64_t last_number_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable enqueued_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  CollectiveStatistics statistics_;
  std::thread thread_;
};

}  // namespace taper
