#pragma once
// ProcessGroup: programs, called ranks, that compute collectively. Each has a number from 0 to size() - 1 and calls the
// same collectives in the same order. Collectives run one after the other in a thread of the group's own, while the
// caller goes on. PyTorch's counterpart: c10d/ProcessGroup.hpp.
//
//   Collective sum = group.all_reduce(gradient, ReduceOp::kMean);
//   ...                                                            // other work
//   sum.wait();                                                    // now `gradient` is the mean over all ranks
//
// A tensor on a GPU travels through pinned host memory: the group's thread waits for the GPU, the caller does not. With
// use_nccl() (nccl_collectives.h) it goes from GPU to GPU on a stream of the group's own, and no thread waits.

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/collective/flight_recorder.h"
#include "taper/ops/collective/host_collectives.h"

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
  double seconds = 0;         ///< from begin to end, other ranks' delays included
  double waited_seconds = 0;  ///< that callers of Collective::wait() waited: the share that nothing hid
};

class NcclCollectives;

class ProcessGroup {
 public:
  explicit ProcessGroup(std::unique_ptr<Transport> transport,
                        CollectiveTimeout timeout = kDefaultCollectiveTimeout);
  /// Finishes the collectives under way.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  int rank() const { return host_collectives_.rank(); }
  int size() const { return host_collectives_.size(); }
  /// Returns the name of this rank's host.
  const std::string& host() const { return host_collectives_.host(); }
  CollectiveTimeout timeout() const { return timeout_; }

  // x must be dense, and untouched until wait(). `label` says in errors and profiles what a collective is for.

  /// Replaces x, on every rank, by the sum, mean or largest of all ranks' x. x: f32, f64, i32, i64, f16 or bf16. The latter
  /// two are added in f32 and rounded once; over NCCL they are rounded on the way. Throws Error for another x, and for a
  /// mean of integers.
  Collective all_reduce(const Tensor& x, ReduceOp op = ReduceOp::kSum, std::string label = {});
  /// Replaces x, on every rank, by that of rank `root`. x: any dtype.
  Collective broadcast(const Tensor& x, int root = 0, std::string label = {});
  /// x: [size(), ...] of any dtype. Replaces x[i], on every rank, by x[i] of rank i. Throws Error for another first
  /// dimension. (all_gather_into_tensor)
  Collective all_gather(const Tensor& x, std::string label = {});
  /// x: [size(), ...] of a dtype that all_reduce takes. Replaces x[rank()] by the sum, mean or largest of all ranks'
  /// x[rank()]; the rest of x is left with anything. (reduce_scatter_tensor)
  Collective reduce_scatter(const Tensor& x, ReduceOp op = ReduceOp::kSum, std::string label = {});
  /// Returns every rank's text, by rank. Waits.
  std::vector<std::string> gather_texts(const std::string& text, const std::string& label = {});
  /// Returns when all ranks have called it.
  void barrier() { gather_texts({}, "barrier"); }

  CollectiveStatistics statistics() const;
  /// When a collective fails, writes what this rank's last ones were to FOLDER/collectives-rank-RANK.tsv
  /// (flight_recorder.h), and names the file in the error.
  void record_flight_to(const std::string& folder) { recorder_.write_to(folder); }
  const FlightRecorder& flight_recorder() const { return recorder_; }

  /// Sends tensors on a GPU through `nccl` from now on. For use_nccl().
  void set_nccl(std::unique_ptr<NcclCollectives> nccl);

  /// Ends all ranks' processes, this one with `exit_code`.
  [[noreturn]] void abort(int exit_code) noexcept;

 private:
  friend class Collective;
  Collective start(CollectiveCall call, const Tensor& x);
  Collective start_in_host_memory(const CollectiveCall& call, const Tensor& x);
  Collective start_on_gpu(const CollectiveCall& call, const Tensor& x);
  /// Has the group's thread do `task` after all others. Returns when it is done, or what it throws.
  std::future<void> enqueue(std::function<void()> task);
  /// In the group's thread: carries out `task`, which is the collective `call`, and records how it went.
  void run(const CollectiveCall& call, const std::function<void()>& task);
  void run_in_host_memory(const CollectiveCall& call, void* data);
  void count(const CollectiveCall& call, double seconds);
  void work();
  /// In the group's thread, now and then: hears of other ranks' failures, and of what has ended on the GPU.
  void look_around();
  /// Keeps the first error, which all later calls throw.
  void fail_for_good(const std::string& error);
  void throw_failure() const;

  CollectiveTimeout timeout_;
  HostCollectives host_collectives_;
  std::unique_ptr<NcclCollectives> nccl_;
  FlightRecorder recorder_;
  int64_t last_number_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable enqueued_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  CollectiveStatistics statistics_;
  std::string failure_;
  int64_t last_begun_ = 0;  ///< the group's thread's
  std::thread thread_;
};

}  // namespace taper
