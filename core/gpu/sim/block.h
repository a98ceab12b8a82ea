#pragma once
// Runs the threads of one block.
//
// One fiber calls the kernel for thread 0, then for thread 1, and so on: a plain loop. When a thread has to
// wait (a barrier, a shuffle) its fiber stops in mid-kernel, and the next fiber continues the loop with the
// threads that have not started. So a kernel that never waits costs one call per thread, and one that waits
// costs a fiber per thread. Nobody has to say beforehand which kind it is. Fibers are kept and reused from
// block to block.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "taper/core/gpu/sim/fiber.h"
#include "taper/core/gpu/sim/shim/thread.h"

namespace taper::gpu::sim {

/// A kernel with its arguments bound.
struct Kernel {
  std::string name;
  int device = 0;
  dim3 grid, block;
  size_t dynamic_shared_bytes = 0;
  bool last_thread_first = false;  // the order in which the threads of a block start
  void (*call)(const void* arguments) = nullptr;
  const void* arguments = nullptr;
};

/// The asynchronous copies of one thread that have not landed; see core/gpu/async_copy.h.
struct AsyncCopies {
  struct Copy {
    void* shared;
    const void* global;
    size_t size_bytes;
    size_t valid_bytes;
  };
  std::vector<Copy> pending;
  std::vector<size_t> group_ends;  // the ends of the groups in `pending`, oldest first
};

/// What a signal reports about a faulting instruction. signal 0: nothing.
struct Trap {
  int signal = 0;
  int code = 0;
  const void* address = nullptr;
  bool write = false;
};

class BlockRunner;

/// Returns where `address` lies: "4 bytes past the end of a 1024-byte block on cuda:0", ... `runner` runs the
/// kernel that used the address; null for host code.
std::string describe_place(const void* address, const BlockRunner* runner);

/// Returns a report: "illegal write to 0x..: 4 bytes past the end of a 1024-byte block on cuda:0". `runner`
/// runs the kernel that faulted; null for host code.
std::string describe_trap(const Trap& trap, const BlockRunner* runner);

constexpr int kMaxThreads = 1024;  // in a block

/// What one OS thread needs to run blocks: fibers, warp state, dynamic shared memory.
class BlockRunner {
 public:
  BlockRunner();
  ~BlockRunner();
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  /// Runs block `block` of the kernel's grid, counted with x fastest. Returns the report of a fault, or an
  /// empty text.
  std::string run(const Kernel& kernel, uint64_t block);

  /// Return the number of barriers and warp operations in the last block.
  uint64_t barriers() const { return barriers_; }
  uint64_t warp_operations() const { return warp_operations_; }

  /// Returns the runner whose kernel thread executes on this OS thread now; null outside kernels.
  static BlockRunner* active();

  // What kernel threads call through thread.h.
  int barrier(bool predicate, const Where& where);
  void collective(const char* intrinsic, uint32_t mask, void* data, Combine combine, const Where& where);
  void yield();
  int lane() const { return current_->thread % 32; }
  int thread() const { return current_->thread; }
  void* dynamic_shared() const { return dynamic_shared_; }
  AsyncCopies& async_copies() {
    if (current_->thread >= static_cast<int>(async_copies_.size())) async_copies_.resize(kMaxThreads);
    return async_copies_[static_cast<size_t>(current_->thread)];
  }

  /// Abandons the block. run() returns `message` with the kernel, block and thread.
  [[noreturn]] void abandon(std::string message);
  /// Abandons the block for a fault that the CPU reports. Signal handlers may call it, because run() makes
  /// the message later.
  [[noreturn]] void abandon(const Trap& trap);

  /// Returns "kernel NAME, block (x, y, z), thread (x, y, z)" for the running thread.
  std::string describe_thread() const;

  /// Returns "(x, y, z)" for a thread of this block, given its number.
  std::string describe_index(int thread) const;
  /// Returns whether `address` lies in the running block's dynamic shared memory.
  bool in_dynamic_shared(uintptr_t address) const {
    return address - reinterpret_cast<uintptr_t>(dynamic_shared_) < kernel_->dynamic_shared_bytes;
  }

  /// Returns what lies at `address` of this runner's own memory: shared memory, its end, or a fiber's guard
  /// page. Empty for any other address.
  std::string describe_address(uintptr_t address) const;

 private:
  struct Lane {
    const char* intrinsic;
    uint32_t mask;
    void* data;
    Combine combine;
    Fiber* fiber;
    Where where;
  };
  struct Warp {
    uint32_t exists = 0, returned = 0, waiting = 0;
    Lane lanes[32];
  };
  struct BarrierWait {
    Fiber* fiber;
    Where where;
  };

  static void fiber_main();
  void run_threads();
  void finish_thread();
  bool complete_collective(Warp& warp, uint32_t mask, Combine combine);
  void suspend();
  void go_to(Fiber& next);
  Fiber* next_runnable();
  Fiber& idle_fiber();
  uint3 thread_index(int thread) const;
  std::string describe_deadlock() const;
  std::string describe_block(uint3 thread) const;

  const Kernel* kernel_ = nullptr;
  int threads_ = 0;     // in the block
  int started_ = 0;     // how many have begun
  int returned_ = 0;    // how many have ended
  int votes_ = 0;       // of the present barrier
  int last_votes_ = 0;  // of the last completed barrier
  uint64_t barriers_ = 0;
  uint64_t warp_operations_ = 0;
  std::vector<BarrierWait> at_barrier_;
  std::vector<Fiber*> ready_;  // a ring: threads that can continue
  size_t ready_first_ = 0, ready_count_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  Warp warps_[kMaxThreads / 32];
  std::vector<AsyncCopies> async_copies_;  // by thread; empty until a kernel makes some
  Fiber root_;
  Fiber* current_ = nullptr;
  std::string fault_;
  Trap trap_;
  void* shared_pages_ = nullptr;  // dynamic shared memory, ending at a guard page
  void* dynamic_shared_ = nullptr;
  void* signal_stack_ = nullptr;
};

}  // namespace taper::gpu::sim
