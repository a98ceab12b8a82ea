#pragma once
// Devices that this process can no longer use. After a kernel's fault CUDA answers every call with the same
// error, whoever makes it. The first one is remembered here, so that all later failures name their cause. A
// child of fork() can use none of its parent's devices.

#include <string>

#include "taper/core/base/error.h"

namespace taper {

/// A kernel has faulted, or this process was forked from one that used the GPU. This process can no longer
/// use the GPU; only a new process can.
class DeviceLostError : public Error {
 public:
  using Error::Error;
};

namespace gpu {

/// Returns whether a kernel has faulted on `device`. Every call of runtime.h then throws DeviceLostError with
/// the reason of the first fault; only giving memory back is still allowed. (On the simulated GPU only if
/// sim.h asks for it.) Returns true for every device in a child of fork() whose parent had used a GPU.
bool is_lost(int device);

namespace detail {

/// Marks `device` as lost because of `reason`, unless it is lost already. Throws DeviceLostError with the
/// first reason and the way out.
[[noreturn]] void lose_device(int device, const std::string& reason);

/// Throws DeviceLostError if `device` is lost.
void refuse_if_lost(int device);

/// Makes every later child of fork() lose all devices. Called at the first use of a GPU.
void lose_devices_in_children();

/// Returns whether this process is such a child. Locks around a device's state may then be held for ever, by
/// threads of the parent.
bool is_forked();

/// Throws DeviceLostError if is_forked().
void refuse_if_forked();

/// Makes all devices usable again: the simulated GPU can be repaired, even in a forked child.
void forget_losses();

}  // namespace detail
}  // namespace gpu
}  // namespace taper
