#pragma once
// Devices that this process can use no more. After a kernel's fault CUDA answers every call with the same
// error, whoever makes it. The first one is remembered here, so that all later failures name their cause. A
// child of fork() has none of its parent's devices at all.

#include <string>

#include "taper/core/base/error.h"

namespace taper {

/// A kernel has faulted, or this process was forked from one that used the GPU: it can use the GPU no more.
/// Only a new process can.
class DeviceLostError : public Error {
 public:
  using Error::Error;
};

namespace gpu {

/// True once a kernel has faulted on `device`: every call of runtime.h then throws DeviceLostError with the
/// reason of the first, except that memory may still be given back. (On the simulated GPU only if sim.h asks
/// for it.) True for every device in a child of fork() whose parent had used a GPU.
bool is_lost(int device);

namespace detail {

/// Marks `device` as lost because of `reason`, unless it is lost already. Throws DeviceLostError with the
/// first reason and the way out.
[[noreturn]] void lose_device(int device, const std::string& reason);

/// Throws DeviceLostError if `device` is lost.
void refuse_if_lost(int device);

/// From now on a child of fork() loses all devices. For the first use of a GPU.
void lose_devices_in_children();

/// Whether this is such a child. Locks around a device's state may then be held for ever, by threads that are
/// the parent's.
bool is_forked();

/// Throws DeviceLostError if it is.
void refuse_if_forked();

/// The simulated GPU can be repaired, in a forked child, too.
void forget_losses();

}  // namespace detail
}  // namespace gpu
}  // namespace taper
