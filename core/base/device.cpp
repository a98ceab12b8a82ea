#include "taper/core/base/device.h"

#include <charconv>

#include "taper/core/base/error.h"

namespace taper {

Device::Device(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  if (name == "cpu")
    type = DeviceType::kCPU;
  else if (name == "cuda")
    type = DeviceType::kCUDA;
  else
    fail("device '{}' is not known; use cpu, cuda or cuda:INDEX", text);
  if (colon == std::string_view::npos) return;
  const std::string_view number = text.substr(colon + 1);
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), index);
  TAPER_CHECK(code == std::errc() && end == number.data() + number.size() && index >= 0 && index < 128,
              "device '{}' has no valid index; use cuda:0, cuda:1, ...", text);
  TAPER_CHECK(is_cuda() || index == 0, "device '{}' does not exist; there is one cpu", text);
}

std::string Device::str() const {
  return is_cpu() ? "cpu" : fmt::format("cuda:{}", index);
}

}  // namespace taper
