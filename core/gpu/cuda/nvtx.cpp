#include <nvtx3/nvToolsExt.h>

#include <cstdlib>
#include <string>

#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/cuda/nvtx.h"

namespace taper::gpu {
namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("taper");
  return domain;
}

void push(std::string_view name) {
  const std::string text(name);
  nvtxEventAttributes_t range = {};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = text.c_str();
  nvtxDomainRangePushEx(domain(), &range);
}

void pop() {
  nvtxDomainRangePop(domain());
}

}  // namespace

// A tool announces itself through the library that it wants NVTX to load.
void detail::start_nvtx() {
  if (std::getenv("NVTX_INJECTION64_PATH") == nullptr) return;
  taper::detail::nvtx_tool = {.begin = push, .end = pop};
  taper::detail::op_listeners |= taper::detail::kNvtx;
}

}  // namespace taper::gpu
