#pragma once
// The simulated GPU's streams: queues of work that runs only when somebody waits for it.
//
// Enqueued work does not run at once. A synchronise (or a query, one step at a time) picks a stream with a
// runnable head, by weights drawn from the seed, and runs that head, until what was waited for is done. So a
// program that forgot an event sees its work run in an unexpected order for some seed, as it would, rarely,
// on hardware.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "taper/core/base/profile_events.h"
#include "taper/core/gpu/pinned_ranges.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/sim/arena.h"

namespace taper::gpu::sim {

/// One piece of work; a graph replays it many times.
struct Work {
  std::function<void()> run;
  taper::detail::DeviceWork what = {};  // for profiles
};

/// A captured graph, or one being captured: work with the indices of the work it must follow.
struct Capture {
  struct Node {
    Work work;
    std::vector<int> after;
  };
  std::vector<Node> nodes;
  Stream origin;
};

/// One call of Event::record.
struct Mark {
  bool reached = false;
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Capture> capture;  // recorded while capturing: a node of the graph instead of a moment
  std::vector<int> after;
};

struct Task {
  Work work;                       // may be empty
  std::shared_ptr<Mark> wait_for;  // runs only after this is reached
  std::shared_ptr<Mark> mark;      // running this task reaches it
};

struct Queue {
  std::deque<Task> tasks;
  double weight = 1;  // how likely the schedule picks it
  std::shared_ptr<Capture> capture;
  std::vector<int> capture_tail;  // the last captured work on this stream
};

/// The state of all simulated devices. The caller of any member function holds `mutex`.
class Machine {
 public:
  static Machine& instance();
  std::mutex mutex;

  /// May be called without holding `mutex`.
  int device_count() const { return device_count_; }
  void set_device_count(int count) { device_count_ = count; }
  size_t memory_limit() const { return memory_limit_; }
  void set_memory_limit(size_t bytes) { memory_limit_ = bytes; }
  void set_seed(uint64_t seed);
  void reset();

  Arena& arena(int device) { return *arenas_[static_cast<size_t>(device)]; }
  /// Returns the device whose memory range contains `address`; -1 for host memory.
  int device_of(const void* address) const;

  Queue& queue(Stream stream);
  void enqueue(Stream stream, Work work);
  /// Runs `work` now. Profiles show it on `stream`.
  void run_work(const Work& work, int device, int stream);
  /// As enqueue, for callers that must not throw. The next wait or query throws what fails meanwhile.
  void enqueue_quietly(Stream stream, Work work);
  std::shared_ptr<Mark> record(Stream stream);
  void wait(Stream stream, const std::shared_ptr<Mark>& mark);

  /// Runs work until `mark` is reached. Throws what failed; work enqueued on the failing device is dropped.
  void run_until(const Mark& mark);
  /// Runs one piece of work of any stream, so that polling makes progress.
  void run_one();
  void run_all(int device);

  /// Returns whether any stream of `device` captures.
  bool capturing(int device) const;
  /// Ends `capture` on every stream that joined it.
  void leave_capture(const std::shared_ptr<Capture>& capture);

  void set_faults_are_final(bool final) { faults_are_final_ = final; }

  bool annotations() const { return annotations_; }
  void set_annotations(bool enabled) { annotations_ = enabled; }

  /// Returns the next number of the schedule's random sequence.
  uint64_t draw();

  /// Makes the memory of `device`, and of no other device, accessible to kernels.
  void unlock_only(int device);

  /// Counts down to an injected failure. Returns true when this call must fail.
  bool fails_now(int point);
  void fail_call(int point, int n) { countdown_[point] = n; }

  detail::PinnedRanges pinned;  // has a lock of its own

 private:
  Machine();
  bool step();  // false: nothing to run
  void run(Task task, std::pair<int, int> key);
  void drop_work(int device);
  void lock_all();
  void run_surplus();
  void rethrow_held_failure();

  std::atomic<int> device_count_ = 1;
  size_t memory_limit_ = 0;
  uint64_t random_ = 0;
  uint64_t seed_ = 0;
  int countdown_[4] = {};
  size_t pending_ = 0;
  bool annotations_ = true;
  bool faults_are_final_ = false;
  std::exception_ptr held_failure_;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::map<std::pair<int, int>, Queue> queues_;  // by device and stream
};

/// Runs every block of a grid on the CPU's cores. Returns the report of the first fault; empty if none.
struct Kernel;
std::string run_grid(const Kernel& kernel);

/// Installs the handler that turns an access of protected memory into a report, unless it is installed
/// already.
void install_fault_handler();

}  // namespace taper::gpu::sim
