#include "taper/core/base/parallel.h"  // spine 10 (docs/0-the-spine.md)

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "taper/core/base/available_cpus.h"
#include "taper/core/base/error.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/base/warning.h"

// The pool's threads start with the first shared loop and live as long as the process, because destructors of
// static objects may run ops. A child of fork() has no copy of these threads and starts its own. If the
// system starts fewer threads than asked for, the pool works with those.

namespace taper {
namespace {

/// The loop that a thread is in: none, one that it runs by itself, or one that threads share.
enum class Loop : uint8_t { kNone, kInPlace, kShared };
constinit thread_local Loop loop_around = Loop::kNone;

class LoopScope {
 public:
  explicit LoopScope(Loop loop) : outer_(std::exchange(loop_around, std::max(loop_around, loop))) {}
  ~LoopScope() { loop_around = outer_; }
  LoopScope(const LoopScope&) = delete;
  LoopScope& operator=(const LoopScope&) = delete;

 private:
  Loop outer_;
};

/// Runs one loop at a time. Workers take chunks from a shared counter. Between loops they spin briefly and
/// then sleep, because a training step is hundreds of short loops in a row.
class ThreadPool {
 public:
  /// Starts `workers` threads. If it starts fewer, failure() says why.
  explicit ThreadPool(int workers) {
    try {
      threads_.reserve(size_t(workers));
      for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i] { worker_loop(i + 1); });
    } catch (const std::exception& error) {
      failure_ = error.what();
    }
  }
  ~ThreadPool() {
    stop();
    for (auto& thread : threads_) thread.join();
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int workers() const { return int(threads_.size()); }
  const std::string& failure() const { return failure_; }

  void run(int64_t count, detail::ChunkFunction function, void* context) {
    op_ = OpScope::current();
    function_ = function;
    context_ = context;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    busy_.store(workers(), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    work([this] { take_chunks(); });
    for (int spin = 0; busy_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin > kSpins) {
        const int left = busy_.load(std::memory_order_acquire);
        if (left > 0) busy_.wait(left, std::memory_order_acquire);
      }
    }
    TAPER_CHECK(busy_.load(std::memory_order_relaxed) != kLeftBehind,
                "parallel loop: fork() was called inside of it, and the child cannot finish it, for the "
                "loop's other threads are the parent's; fork outside of loops, or end the child there");
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  /// For the child of a fork(), where the threads do not exist: makes sure that nobody waits for them.
  void leave_behind() {
    busy_ = kLeftBehind;
    stop();
  }

 private:
  /// About 50 us. Training ResNet-50 on two cores is 5% faster than with a tenth of it. The price is a core
  /// that spins for that long while other work could use it.
  static constexpr int kSpins = 200000;
  static constexpr int kLeftBehind = -1;  ///< busy_ of a pool whose threads belong to another process

  void stop() {
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }

  void take_chunks() {
    const LoopScope scope(Loop::kShared);
    for (int64_t chunk; (chunk = next_.fetch_add(1, std::memory_order_relaxed)) < count_;)
      function_(context_, chunk);
  }

  /// Calls body(). An exception that it throws ends the loop on all threads.
  template <class Body>
  void work(Body&& body) {
    try {
      body();
    } catch (...) {
      next_.store(count_, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void worker_loop(int number) {
    set_thread_name(fmt::format("compute {}", number));
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; generation_.load(std::memory_order_acquire) == seen; ++spin) {
        if (spin > kSpins) generation_.wait(seen, std::memory_order_acquire);
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_) return;
      work([this] {
        const OpScope scope(op_.empty() ? "parallel loop" : op_, SpanKind::kParallel);
        take_chunks();
      });
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_all();
    }
  }

  std::vector<std::thread> threads_;
  std::string failure_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stopping_{false};
  int64_t count_ = 0;
  std::string_view op_;  ///< the op that the loop's thread runs
  detail::ChunkFunction function_ = nullptr;
  void* context_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

struct PoolState {
  std::mutex mutex;  ///< held while a loop runs; a second thread's loop then runs in place
  std::atomic<int> threads;
  std::unique_ptr<ThreadPool> pool;    ///< made by the first loop that is shared
  const PoolState* parents = nullptr;  ///< in the child of a fork(): the parent's state
};

/// Never destroyed: destructors of static objects may run ops.
std::atomic<PoolState*> state_of_process{nullptr};

/// Gives a child of fork() a state without threads and with an open lock, whatever the parent's threads were
/// doing.
void begin_anew_in_child() {
  PoolState* const parents = state_of_process;
  if (parents->pool) parents->pool->leave_behind();
  state_of_process =
      new PoolState{.mutex = {}, .threads = parents->threads.load(), .pool = {}, .parents = parents};
}

PoolState& state() {
  [[maybe_unused]] static const int registered = [] {
    state_of_process = new PoolState{.mutex = {}, .threads = available_cpus(), .pool = {}};
    return pthread_atfork(nullptr, nullptr, begin_anew_in_child);
  }();
  return *state_of_process.load(std::memory_order_acquire);
}

void run_in_place(int64_t count, detail::ChunkFunction function, void* context) {
  const LoopScope scope(Loop::kInPlace);
  for (int64_t chunk = 0; chunk < count; ++chunk) function(context, chunk);
}

/// Starts the threads; the caller holds the lock. Returns a warning about threads that could not be started,
/// or an empty text.
std::string start_pool(PoolState& shared) {
  shared.pool = std::make_unique<ThreadPool>(shared.threads - 1);
  const int started = 1 + shared.pool->workers(), wanted = shared.threads.exchange(started);
  if (started == wanted) return {};
  return fmt::format(
      "{} of {} compute threads could be started ({}), and the work is theirs; is there a limit on "
      "processes or memory (ulimit -u, ulimit -v, a container's)?",
      started, wanted, shared.pool->failure());
}

}  // namespace

int num_threads() {
  return state().threads;
}

bool in_parallel_loop() {
  return loop_around == Loop::kShared;
}

void set_num_threads(int count) {
  TAPER_CHECK(count >= 1 && count <= 1024, "threads must be between 1 and 1024, got {}", count);
  TAPER_CHECK(loop_around == Loop::kNone,
              "set_num_threads({}): called inside of a parallel loop, which needs its threads; call it "
              "before or after the loop",
              count);
  PoolState& shared = state();
  const std::lock_guard lock(shared.mutex);
  if (count == shared.threads) return;
  shared.pool.reset();
  shared.threads = count;
}

namespace detail {

void run_chunks(int64_t count, ChunkFunction function, void* context) {
  if (count <= 1 || loop_around == Loop::kShared) return run_in_place(count, function, context);
  PoolState& shared = state();
  if (shared.threads == 1) return run_in_place(count, function, context);
  std::unique_lock lock(shared.mutex, std::try_to_lock);
  if (!lock) return run_in_place(count, function, context);
  if (!shared.pool) {
    if (const std::string warning = start_pool(shared); !warning.empty()) {
      lock.unlock();  // a handler of warnings may use the pool
      warn(warning);
      return run_chunks(count, function, context);
    }
  }
  shared.pool->run(count, function, context);
}

}  // namespace detail
}  // namespace taper
