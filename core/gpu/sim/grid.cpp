// Runs the blocks of a grid on the CPU's cores.

#include <atomic>
#include <mutex>

#include "taper/core/base/parallel.h"
#include "taper/core/base/thread_object.h"
#include "taper/core/gpu/sim.h"
#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/race.h"
#include "taper/core/gpu/sim/schedule.h"

namespace taper::gpu::sim {
namespace {

// In a grid of fewer threads, waking other cores costs more than it saves.
constexpr uint64_t kParallelThreads = 4096;

std::atomic<uint64_t> launches{0}, finished_blocks{0}, barriers{0}, warp_operations{0};

/// Takes blocks off a grid until none is left. Blocks start in order, so a block that waits for an earlier
/// one makes progress.
class Grid {
 public:
  explicit Grid(const Kernel& kernel)
      : kernel_(kernel), blocks_(uint64_t{kernel.grid.x} * kernel.grid.y * kernel.grid.z) {}

  void run_blocks() {
    auto& runner = thread_object<BlockRunner>();
    for (uint64_t block; (block = next_.fetch_add(1, std::memory_order_relaxed)) < blocks_;) {
      std::string fault = runner.run(kernel_, block);
      finished_blocks.fetch_add(1, std::memory_order_relaxed);
      barriers.fetch_add(runner.barriers(), std::memory_order_relaxed);
      warp_operations.fetch_add(runner.warp_operations(), std::memory_order_relaxed);
      if (fault.empty()) continue;
      next_ = blocks_;
      std::lock_guard lock(mutex_);
      if (block < fault_block_) {
        fault_block_ = block;
        fault_ = std::move(fault);
      }
    }
  }

  uint64_t blocks() const { return blocks_; }
  const std::string& fault() const { return fault_; }

 private:
  const Kernel& kernel_;
  const uint64_t blocks_;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;
  uint64_t fault_block_ = ~uint64_t{0};
  std::string fault_;
};

}  // namespace

std::string run_grid(const Kernel& kernel) {
  if constexpr (kFindRaces) race::begin_launch();
  launches.fetch_add(1, std::memory_order_relaxed);
  Grid grid(kernel);
  const uint64_t threads = grid.blocks() * kernel.block.x * kernel.block.y * kernel.block.z;
  if (!kFindRaces && grid.blocks() > 1 && threads >= kParallelThreads) {
    parallel_chunks(num_threads(), [&](int64_t) { grid.run_blocks(); });
  } else {
    grid.run_blocks();
  }
  return grid.fault();
}

KernelCounts kernel_counts() {
  return {launches, finished_blocks, barriers, warp_operations};
}

void reset_kernel_counts() {
  launches = finished_blocks = barriers = warp_operations = 0;
}

}  // namespace taper::gpu::sim
