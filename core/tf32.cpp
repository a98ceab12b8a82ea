#include "taper/core/tf32.h"

#include <atomic>

namespace taper {
namespace {

std::atomic<bool> matmul_allowed{false}, conv_allowed{true};

}  // namespace

void set_allow_tf32_matmul(bool allow) {
  matmul_allowed = allow;
}
bool allow_tf32_matmul() {
  return matmul_allowed.load(std::memory_order_relaxed);
}

void set_allow_tf32_conv(bool allow) {
  conv_allowed = allow;
}
bool allow_tf32_conv() {
  return conv_allowed.load(std::memory_order_relaxed);
}

}  // namespace taper
