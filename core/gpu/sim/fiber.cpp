#include "taper/core/gpu/sim/fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>

#include "taper/core/base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace taper::gpu::sim {
namespace {

namespace context = boost::context::detail;

// The sanitizers keep one shadow stack per fiber and must be told of every switch.
void before_switch([[maybe_unused]] Fiber& from, [[maybe_unused]] Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.shadow, to.stack, to.stack_bytes);
#elif defined(__SANITIZE_THREAD__)
  if (from.shadow == nullptr) from.shadow = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.shadow, 0);
#endif
}

void after_switch([[maybe_unused]] Fiber& now, [[maybe_unused]] Fiber& before) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(now.shadow, &bottom, &bytes);
  if (before.stack == nullptr) {  // an OS thread's stack: its bounds become known here
    before.stack = const_cast<void*>(bottom);
    before.stack_bytes = bytes;
  }
#endif
}

void start(context::transfer_t arrival) {
  auto& before = *static_cast<std::pair<Fiber*, Fiber*>*>(arrival.data)->first;
  auto& now = *static_cast<std::pair<Fiber*, Fiber*>*>(arrival.data)->second;
  before.context = arrival.fctx;
  after_switch(now, before);
  now.entry();
  __builtin_unreachable();
}

void* stack_top(const Fiber& fiber) {
  return static_cast<char*>(fiber.stack) + fiber.stack_bytes;
}

}  // namespace

void create_fiber(Fiber& fiber, void (*entry)(), int colour) {
  const size_t mapped = kFiberGuardBytes + kFiberStackBytes;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED || mprotect(base, kFiberGuardBytes, PROT_NONE) != 0) {
    fail<OutOfMemoryError>("simulated GPU: no memory for the stack of a kernel thread ({} KiB)",
                           kFiberStackBytes / 1024);
  }
  fiber.entry = entry;
  fiber.stack = static_cast<char*>(base) + kFiberGuardBytes;
  // Spreads the fibers over 16 colours, three cache lines apart, within the lines of one page.
  fiber.stack_bytes = kFiberStackBytes - static_cast<size_t>(colour % 16) * 192;
#if defined(__SANITIZE_THREAD__)
  fiber.shadow = __tsan_create_fiber(0);
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
  std::pair<Fiber*, Fiber*> ends{&from, &to};
  void* target = to.context;
  if (target == nullptr) target = context::make_fcontext(stack_top(to), to.stack_bytes, start);
  to.context = nullptr;
  before_switch(from, to);
  const context::transfer_t arrival = context::jump_fcontext(target, &ends);
  Fiber& before = *static_cast<std::pair<Fiber*, Fiber*>*>(arrival.data)->first;
  before.context = arrival.fctx;
  after_switch(from, before);
}

void reset_fiber(Fiber& fiber) {
  fiber.context = nullptr;
  fiber.thread = -1;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
  fiber.shadow = nullptr;
#elif defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(fiber.shadow);
  fiber.shadow = __tsan_create_fiber(0);
#endif
}

void destroy_fiber(Fiber& fiber) {
  if (fiber.stack == nullptr) return;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#elif defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(fiber.shadow);
#endif
  munmap(static_cast<char*>(fiber.stack) - kFiberGuardBytes, kFiberGuardBytes + kFiberStackBytes);
  fiber = Fiber();
}

}  // namespace taper::gpu::sim
