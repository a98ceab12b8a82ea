// Device(text), which reads what people type.

#include "fuzz.h"
#include "taper/core/base/device.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const Device device(std::string_view(reinterpret_cast<const char*>(data), size));
    fuzz::require(Device(device.str()) == device, "a device's text names it");
  } catch (const Error&) {
  }
  return 0;
}
