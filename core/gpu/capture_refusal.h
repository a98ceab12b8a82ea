#pragma once
// What is said of work that a graph cannot hold.

#include <string>

#include "taper/core/base/device.h"
#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/runtime.h"

namespace taper::gpu::detail {

/// Throws CaptureError: the op under way, and why it cannot be captured.
[[noreturn]] inline void refuse_capture(const std::string& why) {
  const std::string_view op = OpScope::current();
  fail<CaptureError>("{}{}", op.empty() ? "" : fmt::format("{}: ", op), why);
}

/// Does so if the current stream of `device` captures a graph.
inline void refuse_in_capture(Device device, const char* why) {
  if (device.is_cuda() && is_capturing(current_stream(device.index))) refuse_capture(why);
}

}  // namespace taper::gpu::detail
