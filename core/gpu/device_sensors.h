#pragma once
// What a GPU says of itself: how busy, warm and hungry it is. NVIDIA's management library (NVML, the one behind
// nvidia-smi) is opened while the program runs. It is part of the driver, so a machine without a GPU lacks it.
// https://docs.nvidia.com/deploy/nvml-api

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace taper::gpu {

/// What is not known is left out: older and smaller GPUs measure less, and nothing is known without NVML.
struct SensorReadings {
  std::optional<int64_t> memory_used_bytes = {};   ///< by all processes
  std::optional<double> utilisation = {};          ///< share of the last moments with a kernel, 0 to 1
  std::optional<double> temperature_celsius = {};  ///< of the chip
  std::optional<double> power_watts = {};          ///< of the board
  bool operator==(const SensorReadings&) const = default;
};

class DeviceSensors {
 public:
  /// The sensors of a device of this process, whatever number NVML has for it (CUDA_VISIBLE_DEVICES). The
  /// simulated GPU has none. Throws nothing if there is no NVML. Under MIG the readings are the whole GPU's.
  explicit DeviceSensors(int device);
  /// The sensors of the GPU at a PCI address ("0000:3b:00.0"), through the first of `libraries` that opens.
  DeviceSensors(const std::string& pci_bus_id, const std::vector<std::string>& libraries);
  ~DeviceSensors();
  DeviceSensors(const DeviceSensors&) = delete;
  DeviceSensors& operator=(const DeviceSensors&) = delete;

  /// Asks the sensors, which takes the driver up to some milliseconds.
  SensorReadings read() const;
  /// Returns what the sensors last said; asks again a second after it last did. For callers in a loop.
  const SensorReadings& recent();

 private:
  struct Nvml;
  std::unique_ptr<const Nvml> nvml_;  // null if nothing can be asked
  SensorReadings recent_;
  std::optional<std::chrono::steady_clock::time_point> asked_;
};

}  // namespace taper::gpu
