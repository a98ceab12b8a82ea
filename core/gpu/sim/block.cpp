#include "taper/core/gpu/sim/block.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/gpu/sim/race.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace taper::gpu::sim {
namespace {

constexpr size_t kMaxDynamicSharedBytes = 228 * 1024;
constexpr size_t kSignalStackBytes = 64 * 1024;
constexpr size_t kReadyCapacity = kMaxThreads;  // a power of two

const size_t kGuardBytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));

thread_local BlockRunner* active_runner = nullptr;

bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string place(const Where& where) {
  return fmt::format("{}:{}", where.file_name(), where.line());
}

std::string triple(uint3 v) {
  return fmt::format("({}, {}, {})", v.x, v.y, v.z);
}

}  // namespace

BlockRunner::BlockRunner() : ready_(kReadyCapacity) {
  at_barrier_.reserve(kReadyCapacity);
  const size_t mapped = kMaxDynamicSharedBytes + kGuardBytes;
  shared_pages_ =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared_pages_ == MAP_FAILED ||
      mprotect(static_cast<char*>(shared_pages_) + kMaxDynamicSharedBytes, kGuardBytes, PROT_NONE) != 0) {
    fail<OutOfMemoryError>("simulated GPU: no memory for a block's shared memory ({} bytes)", mapped);
  }
  // Handles a fault on a separate stack, because the fiber's own stack may be what overflowed.
  stack_t previous{};
  sigaltstack(nullptr, &previous);
  if ((previous.ss_flags & SS_DISABLE) != 0 || previous.ss_size < kSignalStackBytes / 4) {
    signal_stack_ =
        mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t stack{.ss_sp = signal_stack_, .ss_flags = 0, .ss_size = kSignalStackBytes};
    if (signal_stack_ == MAP_FAILED || sigaltstack(&stack, nullptr) != 0) {
      fail<OutOfMemoryError>("simulated GPU: no memory for a signal stack ({} bytes)", kSignalStackBytes);
    }
  }
}

BlockRunner::~BlockRunner() {
  for (auto& fiber : fibers_) destroy_fiber(*fiber);
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(shared_pages_, kMaxDynamicSharedBytes);  // the next mapping is another's
#endif
  munmap(shared_pages_, kMaxDynamicSharedBytes + kGuardBytes);
  if (signal_stack_ != nullptr) {
    const stack_t disable{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&disable, nullptr);
    munmap(signal_stack_, kSignalStackBytes);
  }
}

BlockRunner* BlockRunner::active() {
  return active_runner;
}

std::string BlockRunner::run(const Kernel& kernel, uint64_t block) {
  kernel_ = &kernel;
  threads_ = static_cast<int>(kernel.block.x * kernel.block.y * kernel.block.z);
  started_ = returned_ = votes_ = 0;
  barriers_ = warp_operations_ = 0;
  for (int w = 0; w * 32 < threads_; ++w) {
    const int lanes = std::min(32, threads_ - w * 32);
    warps_[w].exists = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warps_[w].returned = warps_[w].waiting = 0;
  }
  // Ends shared memory at the guard page (to 128 bytes), and fills it with NaN.
  const size_t shared_bytes = (kernel.dynamic_shared_bytes + 127) / 128 * 128;
  char* shared_end = static_cast<char*>(shared_pages_) + kMaxDynamicSharedBytes;
  dynamic_shared_ = shared_end - shared_bytes;
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(shared_pages_, kMaxDynamicSharedBytes);
  __asan_unpoison_memory_region(dynamic_shared_, kernel.dynamic_shared_bytes);
#endif
  std::memset(dynamic_shared_, 0xff, kernel.dynamic_shared_bytes);

  blockDim = kernel.block;
  gridDim = kernel.grid;
  blockIdx = {static_cast<unsigned>(block % kernel.grid.x),
              static_cast<unsigned>(block / kernel.grid.x % kernel.grid.y),
              static_cast<unsigned>(block / kernel.grid.x / kernel.grid.y)};

  for (AsyncCopies& copies : async_copies_) {
    copies.pending.clear();
    copies.group_ends.clear();
  }

  if constexpr (kFindRaces) race::begin_block();

  fault_.clear();
  active_runner = this;
  Fiber& first = idle_fiber();
  current_ = &first;
  switch_fiber(root_, first);
  active_runner = nullptr;

  if (trap_.signal != 0)
    fault_ = describe_trap(std::exchange(trap_, Trap()), this) + "; " + describe_thread();
  // Drops fibers that stopped in mid-kernel; kernels own nothing that needs unwinding.
  if (!fault_.empty()) {
    idle_.clear();
    for (auto& fiber : fibers_) {
      reset_fiber(*fiber);
      idle_.push_back(fiber.get());
    }
    at_barrier_.clear();
    ready_first_ = ready_count_ = 0;
  }
  return fault_;
}

void BlockRunner::fiber_main() {
  BlockRunner& runner = *active_runner;
  for (;;) {
    runner.run_threads();
    runner.idle_.push_back(runner.current_);
    if (runner.returned_ == runner.threads_) {
      Fiber& self = *runner.current_;
      switch_fiber(self, runner.root_);
    } else if (Fiber* next = runner.next_runnable()) {
      runner.go_to(*next);
    } else {
      runner.abandon(runner.describe_deadlock());
    }
  }
}

void BlockRunner::run_threads() {
  Fiber& self = *current_;
  while (started_ < threads_) {
    const int order = started_++;
    self.thread = kernel_->last_thread_first ? threads_ - 1 - order : order;
    self.thread_index = threadIdx = thread_index(self.thread);
    kernel_->call(kernel_->arguments);
    finish_thread();
  }
  self.thread = -1;
}

void BlockRunner::finish_thread() {
  ++returned_;
  Warp& warp = warps_[current_->thread / 32];
  warp.returned |= 1u << (current_->thread % 32);
  // Once a lane has returned, lanes that wait for it need to wait no longer.
  for (uint32_t untried = warp.waiting; untried != 0;) {
    const Lane& lane = warp.lanes[__builtin_ctz(untried)];
    complete_collective(warp, lane.mask, lane.combine);
    untried &= warp.waiting & (untried - 1);
  }
}

uint3 BlockRunner::thread_index(int thread) const {
  const dim3& block = kernel_->block;
  const auto t = static_cast<unsigned>(thread);
  if (block.y * block.z == 1) return {t, 0, 0};
  return {t % block.x, t / block.x % block.y, t / block.x / block.y};
}

int BlockRunner::barrier(bool predicate, const Where& where) {
  if (!at_barrier_.empty() && !same_place(at_barrier_.front().where, where)) {
    abandon(fmt::format(
        "divergent barrier: this thread reached __syncthreads at {} while thread {} waits at {}",
        place(where), triple(at_barrier_.front().fiber->thread_index), place(at_barrier_.front().where)));
  }
  votes_ += predicate;
  at_barrier_.push_back({current_, where});
  if (static_cast<int>(at_barrier_.size()) < threads_) {
    suspend();
    return last_votes_;
  }
  if constexpr (kFindRaces) race::block_barrier();
  ++barriers_;
  last_votes_ = votes_;
  votes_ = 0;
  at_barrier_.pop_back();
  for (const BarrierWait& wait : at_barrier_)
    ready_[(ready_first_ + ready_count_++) % kReadyCapacity] = wait.fiber;
  at_barrier_.clear();
  return last_votes_;
}

void BlockRunner::collective(const char* intrinsic, uint32_t mask, void* data, Combine combine,
                             const Where& where) {
  Warp& warp = warps_[current_->thread / 32];
  const uint32_t bit = 1u << lane();
  if ((mask & bit) == 0) {
    abandon(fmt::format("{} at {}: mask {:#010x} does not name the calling lane {}", intrinsic, place(where),
                        mask, lane()));
  }
  warp.lanes[lane()] = {intrinsic, mask, data, combine, current_, where};
  warp.waiting |= bit;
  if (!complete_collective(warp, mask, combine)) suspend();
}

// Lanes of one warp may wait in several groups, told apart by their masks. Every arriving lane tries its own
// group.
bool BlockRunner::complete_collective(Warp& warp, uint32_t mask, Combine combine) {
  const uint32_t members = mask & warp.exists & ~warp.returned;
  if ((warp.waiting & members) != members) return false;
  for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
    const Lane& lane = warp.lanes[__builtin_ctz(rest)];
    if (lane.mask != mask || lane.combine != combine) return false;
  }
  void* data[32] = {};
  for (uint32_t rest = members; rest != 0; rest &= rest - 1)
    data[__builtin_ctz(rest)] = warp.lanes[__builtin_ctz(rest)].data;
  combine(data, members);
  if constexpr (kFindRaces) race::warp_collective(static_cast<int>(&warp - warps_), members);
  ++warp_operations_;
  warp.waiting &= ~members;
  for (uint32_t rest = members; rest != 0; rest &= rest - 1) {
    Fiber* fiber = warp.lanes[__builtin_ctz(rest)].fiber;
    if (fiber != current_) ready_[(ready_first_ + ready_count_++) % kReadyCapacity] = fiber;
  }
  return true;
}

void BlockRunner::yield() {
  if (ready_count_ == 0 && started_ == threads_) return;
  ready_[(ready_first_ + ready_count_++) % kReadyCapacity] = current_;
  // Starts threads that have not run yet first: the yielding thread may be waiting for them.
  if (started_ < threads_)
    go_to(idle_fiber());
  else
    suspend();
}

void BlockRunner::suspend() {
  Fiber* next = next_runnable();
  if (next == nullptr) abandon(describe_deadlock());
  if (next != current_) go_to(*next);
}

void BlockRunner::go_to(Fiber& next) {
  Fiber& self = *current_;
  current_ = &next;
  threadIdx = next.thread_index;
  switch_fiber(self, next);
}

Fiber* BlockRunner::next_runnable() {
  if (ready_count_ > 0) {
    Fiber* fiber = ready_[ready_first_];
    ready_first_ = (ready_first_ + 1) % kReadyCapacity;
    --ready_count_;
    return fiber;
  }
  return started_ < threads_ ? &idle_fiber() : nullptr;
}

Fiber& BlockRunner::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>());
    create_fiber(*fibers_.back(), &BlockRunner::fiber_main, static_cast<int>(fibers_.size()));
    idle_.push_back(fibers_.back().get());
  }
  Fiber& fiber = *idle_.back();
  idle_.pop_back();
  return fiber;
}

// The fiber never runs again and nothing on it is destroyed, so no local may own memory at the switch.
void BlockRunner::abandon(std::string message) {
  fault_ = std::move(message);
  std::string().swap(message);  // the move may have left fault_'s old memory in it
  fault_.append("; ").append(describe_thread());
  switch_fiber(*current_, root_);
  __builtin_unreachable();
}

void BlockRunner::abandon(const Trap& trap) {
  trap_ = trap;
  switch_fiber(*current_, root_);
  __builtin_unreachable();
}

std::string BlockRunner::describe_block(uint3 thread) const {
  return fmt::format("kernel {}, block {}, thread {}", kernel_->name, triple(blockIdx), triple(thread));
}

std::string BlockRunner::describe_thread() const {
  return describe_block(current_->thread_index);
}

// Nothing can run, but not every thread has returned: some thread waits for one that will not come.
std::string BlockRunner::describe_deadlock() const {
  for (int w = 0; w * 32 < threads_; ++w) {
    const Warp& warp = warps_[w];
    if (warp.waiting == 0) continue;
    const int first = __builtin_ctz(warp.waiting);
    const Lane& lane = warp.lanes[first];
    const uint32_t missing = lane.mask & warp.exists & ~warp.returned & ~warp.waiting;
    if (missing != 0) {
      return fmt::format(
          "divergent warp: lane {} of warp {} waits in {} at {} with mask {:#010x} for lane {}, which waits "
          "elsewhere",
          first, w, lane.intrinsic, place(lane.where), lane.mask, __builtin_ctz(missing));
    }
    return fmt::format(
        "divergent warp: lane {} of warp {} waits in {} at {} with mask {:#010x}; other lanes it names wait "
        "in another operation or with another mask",
        first, w, lane.intrinsic, place(lane.where), lane.mask);
  }
  return fmt::format(
      "divergent barrier: {} of {} threads, thread {} among them, wait in __syncthreads at {}; {} have "
      "returned",
      at_barrier_.size(), threads_, triple(at_barrier_.front().fiber->thread_index),
      place(at_barrier_.front().where), returned_);
}

std::string BlockRunner::describe_index(int thread) const {
  return triple(thread_index(thread));
}

std::string BlockRunner::describe_address(uintptr_t address) const {
  if (in_dynamic_shared(address)) {
    return fmt::format("{} bytes into dynamic shared memory",
                       address - reinterpret_cast<uintptr_t>(dynamic_shared_));
  }
  const auto shared_end = reinterpret_cast<uintptr_t>(shared_pages_) + kMaxDynamicSharedBytes;
  if (address >= shared_end && address < shared_end + kGuardBytes) {
    return fmt::format("{} bytes past the end of {} bytes of dynamic shared memory",
                       address - reinterpret_cast<uintptr_t>(dynamic_shared_) - kernel_->dynamic_shared_bytes,
                       kernel_->dynamic_shared_bytes);
  }
  const auto stack = reinterpret_cast<uintptr_t>(current_->stack);
  if (address < stack && address >= stack - kFiberGuardBytes) {
    return fmt::format("past the end of the thread's stack of {} KiB", kFiberStackBytes / 1024);
  }
  return {};
}

// -------------------------------------------------------------------------------------- what kernels call

int block_barrier(bool predicate, const Where& where) {
  return active_runner->barrier(predicate, where);
}

void warp_collective(const char* intrinsic, uint32_t mask, void* data, Combine combine, const Where& where) {
  active_runner->collective(intrinsic, mask, data, combine, where);
}

int lane_id() {
  return active_runner->lane();
}

void yield_thread() {
  active_runner->yield();
}

void fault(const char* message) {
  active_runner->abandon(message);
}

void* dynamic_shared_memory() {
  return active_runner->dynamic_shared();
}

}  // namespace taper::gpu::sim
