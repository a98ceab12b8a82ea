#pragma once
// Where a tensor lives: the CPU or one CUDA device. PyTorch's counterpart: c10/core/Device.h.

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace taper {

enum class DeviceType : uint8_t { kCPU, kCUDA };

/// A device type and an index: Device("cpu"), Device("cuda"), Device("cuda:1"). Throws Error on other text.
struct Device {
  DeviceType type = DeviceType::kCPU;
  int index = 0;

  constexpr Device() = default;
  constexpr Device(DeviceType type_, int index_ = 0) : type(type_), index(index_) {}
  Device(std::string_view text);
  Device(const char* text) : Device(std::string_view(text)) {}

  constexpr bool is_cpu() const { return type == DeviceType::kCPU; }
  constexpr bool is_cuda() const { return type == DeviceType::kCUDA; }
  bool operator==(const Device&) const = default;

  /// Returns "cpu" or, for example, "cuda:0".
  std::string str() const;
};

inline constexpr DeviceType kCPU = DeviceType::kCPU;
inline constexpr DeviceType kCUDA = DeviceType::kCUDA;

}  // namespace taper

template <>
struct fmt::formatter<taper::Device> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const taper::Device& device, Context& ctx) const {
    return fmt::formatter<std::string>::format(device.str(), ctx);
  }
};
