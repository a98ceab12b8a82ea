// Turns a fault at a protected address into a report. Inside a kernel, the launch fails with the kernel's
// name, block and thread. In host code, the process prints which device memory was touched, and ends.

#include <fmt/format.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/schedule.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace taper::gpu::sim {
namespace {

struct sigaction previous_handler[64];
std::atomic<bool> passed_on{false};

bool is_write([[maybe_unused]] void* context) {
#if defined(__x86_64__)
  constexpr greg_t kWriteBit = 2;  // of the page-fault error code
  return (static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & kWriteBit) != 0;
#else
  return false;
#endif
}

void pass_on(int signal_number, siginfo_t* info, void* context) {
  const struct sigaction& previous = previous_handler[signal_number];
  const bool again = passed_on.exchange(true);
  if (!again && (previous.sa_flags & SA_SIGINFO) != 0)
    return previous.sa_sigaction(signal_number, info, context);
  // Returning repeats the access, which then ends the process with the default action.
  signal(signal_number, SIG_DFL);
}

void on_fault(int signal_number, siginfo_t* info, void* context) {
  const Trap trap{signal_number, info->si_code, info->si_addr, is_write(context)};
  if (BlockRunner* runner = BlockRunner::active()) {
    // Leaves the handler by switching fibers. Returning would restore the signal mask, so this restores it.
    pthread_sigmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
    runner->abandon(trap);
  }
  if (signal_number == SIGSEGV && Machine::instance().device_of(info->si_addr) >= 0) {
    const std::string line =
        fmt::format("taper: host code touched device memory: {}; copy it to the host first\n",
                    describe_trap(trap, nullptr));
    [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
  }
  pass_on(signal_number, info, context);
}

#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer reports where in the code it happened; this line reports the thread and block.
void after_asan_report(const char*) {
  const BlockRunner* runner = BlockRunner::active();
  if (runner == nullptr) return;
  const std::string line = fmt::format("taper: in {}\n", runner->describe_thread());
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}
#endif

}  // namespace

std::string describe_place(const void* address, const BlockRunner* runner) {
  Machine& machine = Machine::instance();
  if (const int device = machine.device_of(address); device >= 0)
    return machine.arena(device).describe(address);
  std::string place;
  if (runner != nullptr) place = runner->describe_address(reinterpret_cast<uintptr_t>(address));
  return place.empty() ? "not device memory" : place;
}

std::string describe_trap(const Trap& trap, const BlockRunner* runner) {
  if (trap.signal == SIGFPE) return "integer division by zero";
  if (trap.code != SEGV_MAPERR && trap.code != SEGV_ACCERR)
    return "illegal access: misaligned or wild address";
  return fmt::format("illegal {} {}: {}", trap.write ? "write to" : "read from", trap.address,
                     describe_place(trap.address, runner));
}

void install_fault_handler() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_set_error_report_callback(after_asan_report);
#endif
  for (int signal_number : {SIGSEGV, SIGFPE}) {
    struct sigaction present {};
    sigaction(signal_number, nullptr, &present);
    if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_fault) continue;
    previous_handler[signal_number] = present;
    struct sigaction ours {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(signal_number, &ours, nullptr);
  }
}

}  // namespace taper::gpu::sim
