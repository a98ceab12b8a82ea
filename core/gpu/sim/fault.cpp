// Turns a fault at a protected address into a report: inside a kernel the launch fails with the kernel's
// name, block and thread; in host code the process ends, after a line that says which device memory was
// touched.

#include <fmt/format.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#include "taper/core/gpu/sim/block.h"
#include "taper/core/gpu/sim/schedule.h"

namespace taper::gpu::sim {
namespace {

struct sigaction previous_handler[64];
std::atomic<bool> passed_on{false};

const char* access_kind([[maybe_unused]] void* context) {
#if defined(__x86_64__)
  constexpr greg_t kWriteBit = 2;  // of the page-fault error code
  return (static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & kWriteBit) != 0 ? "write to"
                                                                                          : "read from";
#else
  return "access to";
#endif
}

std::string describe(const siginfo_t* info, void* context, const BlockRunner* runner) {
  Machine& machine = Machine::instance();
  if (info->si_signo == SIGFPE) return "integer division by zero";
  const int device = machine.device_of(info->si_addr);
  std::string where;
  if (device >= 0)
    where = machine.arena(device).describe(info->si_addr);
  else if (runner != nullptr)
    where = runner->describe_address(reinterpret_cast<uintptr_t>(info->si_addr));
  if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)
    return "illegal access: misaligned or wild address";
  return fmt::format("illegal {} {}: {}", access_kind(context), info->si_addr,
                     where.empty() ? "not device memory" : where);
}

void pass_on(int signal_number, siginfo_t* info, void* context) {
  const struct sigaction& previous = previous_handler[signal_number];
  const bool again = passed_on.exchange(true);
  if (!again && (previous.sa_flags & SA_SIGINFO) != 0)
    return previous.sa_sigaction(signal_number, info, context);
  // Returning repeats the access, which then ends the process in the default way.
  signal(signal_number, SIG_DFL);
}

void on_fault(int signal_number, siginfo_t* info, void* context) {
  BlockRunner* runner = BlockRunner::active();
  if (runner != nullptr) runner->abandon(describe(info, context, runner));
  if (signal_number == SIGSEGV && Machine::instance().device_of(info->si_addr) >= 0) {
    const std::string line =
        fmt::format("taper: host code touched device memory: {}; copy it to the host first\n",
                    describe(info, context, nullptr));
    [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
  }
  pass_on(signal_number, info, context);
}

}  // namespace

void install_fault_handler() {
  for (int signal_number : {SIGSEGV, SIGFPE}) {
    struct sigaction present {};
    sigaction(signal_number, nullptr, &present);
    if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_fault) continue;
    previous_handler[signal_number] = present;
    struct sigaction ours {};
    ours.sa_sigaction = on_fault;
    // NODEFER: the handler leaves by switching fibers, never by returning, when a kernel faulted.
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(signal_number, &ours, nullptr);
  }
}

}  // namespace taper::gpu::sim
