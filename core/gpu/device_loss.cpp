#include "taper/core/gpu/device_loss.h"

#include <pthread.h>

#include <array>
#include <atomic>
#include <mutex>

#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/stream_access.h"

namespace taper::gpu {
namespace {

std::atomic<uint64_t> lost_devices{0};  // one bit for each device
std::atomic<bool> forked{false};

std::mutex reasons_mutex;
std::array<std::string, detail::kMaxDevices>& reasons() {
  // Never destroyed: destructors of static objects may still use a device.
  static auto& reasons = *new std::array<std::string, detail::kMaxDevices>;
  return reasons;
}

}  // namespace

bool is_lost(int device) {
  if (device < 0 || device >= detail::kMaxDevices) return false;
  return (lost_devices.load(std::memory_order_relaxed) >> device & 1) != 0;
}

void detail::lose_device(int device, const std::string& reason) {
  refuse_if_forked();  // before the lock, which a thread of the parent may hold
  std::string text;
  {
    const std::lock_guard lock(reasons_mutex);
    std::string& first = reasons()[size_t(device)];
    if (!is_lost(device)) {
      const std::string op =
          OpScope::current().empty() ? "" : fmt::format(" (noticed in {})", OpScope::current());
      first = fmt::format(
          "cuda:{} is lost to this process: {}{}; start the program again. compute-sanitizer names the "
          "kernel "
          "at fault; if it is a library's, TAPER_ALGORITHM_DENY=WORD leaves out algorithms with WORD in "
          "their "
          "names, such as cudnn",
          device, reason, op);
      lost_devices.fetch_or(uint64_t{1} << device, std::memory_order_relaxed);
    }
    text = first;
  }
  throw DeviceLostError(text);
}

void detail::refuse_if_lost(int device) {
  if (is_lost(device)) [[unlikely]]
    lose_device(device, {});
}

void detail::lose_devices_in_children() {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] {
    forked = true;
    lost_devices = ~uint64_t{0};
  });
}

bool detail::is_forked() {
  return forked.load(std::memory_order_relaxed);
}

void detail::refuse_if_forked() {
  if (is_forked()) [[unlikely]]
    fail<DeviceLostError>(
        "the GPU cannot be used in this process: it was forked from one that had used the GPU; fork before "
        "the first use of the GPU, or start the child as a program of its own (exec)");
}

void detail::forget_losses() {
  forked = false;
  lost_devices = 0;
}

}  // namespace taper::gpu
