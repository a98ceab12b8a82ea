#include "taper/core/parallel.h"

#include <sched.h>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "taper/core/error.h"
#include "taper/core/profiler.h"

namespace taper {
namespace {

thread_local bool inside_parallel = false;

int available_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, int(std::thread::hardware_concurrency()));
}

/// One loop at a time. Workers take chunks from a shared counter; between loops they spin for a moment and
/// then sleep, because a training step is hundreds of short loops in a row.
class ThreadPool {
 public:
  explicit ThreadPool(int workers) {
    threads_.reserve(size_t(workers));
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i] { worker_loop(i + 1); });
  }
  ~ThreadPool() {
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void run(int64_t count, detail::ChunkFunction function, void* context) {
    op_ = OpScope::current();
    function_ = function;
    context_ = context;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    busy_.store(int(threads_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    take_chunks();
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin > kSpins) {
        const int left = busy_.load(std::memory_order_acquire);
        if (left != 0) busy_.wait(left, std::memory_order_acquire);
      }
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  /// Some 50 us. Training ResNet-50 on two cores gains 5% over a tenth of it; what is lost is that long of a
  /// core when others wait for it.
  static constexpr int kSpins = 200000;

  void take_chunks() {
    inside_parallel = true;
    try {
      for (int64_t chunk; (chunk = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
        function_(context_, chunk);
      }
    } catch (...) {
      next_.store(count_, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
    inside_parallel = false;
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
      {
        const OpScope scope(op_.empty() ? "parallel loop" : op_, SpanKind::kParallel);
        take_chunks();
      }
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_all();
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stopping_{false};
  int64_t count_ = 0;
  std::string_view op_;  ///< of the thread whose loop it is
  detail::ChunkFunction function_ = nullptr;
  void* context_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

struct PoolState {
  std::mutex mutex;  ///< held while a loop runs; a second thread's loop then runs in place
  std::atomic<int> threads{available_cpus()};
  std::unique_ptr<ThreadPool> pool;
};

PoolState& state() {
  static PoolState state;
  return state;
}

}  // namespace

int num_threads() {
  return state().threads;
}

bool in_parallel_loop() {
  return inside_parallel;
}

void set_num_threads(int count) {
  TAPER_CHECK(count >= 1 && count <= 1024, "threads must be between 1 and 1024, got {}", count);
  const std::lock_guard lock(state().mutex);
  if (count == state().threads) return;
  state().pool.reset();
  state().threads = count;
}

namespace detail {

void run_chunks(int64_t count, ChunkFunction function, void* context) {
  PoolState& shared = state();
  std::unique_lock lock(shared.mutex, std::defer_lock);
  if (count <= 1 || inside_parallel || shared.threads == 1 || !lock.try_lock()) {
    for (int64_t chunk = 0; chunk < count; ++chunk) function(context, chunk);
    return;
  }
  if (!shared.pool) shared.pool = std::make_unique<ThreadPool>(shared.threads - 1);
  shared.pool->run(count, function, context);
}

}  // namespace detail
}  // namespace taper
