#include <nvtx3/nvToolsExt.h>

#include <cstdlib>
#include <string>

#include "taper/core/gpu/nvtx.h"
#include "taper/core/op_scope.h"

namespace taper::gpu {
namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("taper");
  return domain;
}

}  // namespace

// A tool makes itself known by the library that NVTX is to load.
void detail::start_nvtx() {
  if (std::getenv("NVTX_INJECTION64_PATH") != nullptr) taper::detail::op_listeners |= taper::detail::kNvtx;
}

void detail::nvtx_push(std::string_view name) {
  const std::string text(name);
  nvtxEventAttributes_t range = {};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = text.c_str();
  nvtxDomainRangePushEx(domain(), &range);
}

void detail::nvtx_pop() {
  nvtxDomainRangePop(domain());
}

}  // namespace taper::gpu
