#include "taper/core/gpu/device_sensors.h"

#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/shared_library.h"

namespace taper::gpu {
namespace {

// NVML's ABI, as far as it is called here: nvml.h of the CUDA toolkit, which a machine without one lacks.
using NvmlDevice = struct nvmlDevice_st*;
constexpr int kNvmlSuccess = 0;
constexpr int kNvmlTemperatureGpu = 0;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlUtilization {
  unsigned int gpu, memory;  // percent
};

}  // namespace

struct DeviceSensors::Nvml {
  Nvml(const std::string& pci_bus_id, const std::vector<std::string>& libraries) : library(libraries) {
    library.find(init, "nvmlInit_v2");
    library.find(shutdown, "nvmlShutdown");
    library.find(by_bus_id, "nvmlDeviceGetHandleByPciBusId_v2");
    library.find(memory, "nvmlDeviceGetMemoryInfo");
    library.find(utilization, "nvmlDeviceGetUtilizationRates");
    library.find(temperature, "nvmlDeviceGetTemperature");
    library.find(power, "nvmlDeviceGetPowerUsage");
    if (init == nullptr || shutdown == nullptr || by_bus_id == nullptr) return;
    is_open = init() == kNvmlSuccess;
    if (is_open) has_device = by_bus_id(pci_bus_id.c_str(), &device) == kNvmlSuccess;
  }
  ~Nvml() {
    if (is_open) shutdown();
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  SharedLibrary library;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*by_bus_id)(const char*, NvmlDevice*) = nullptr;
  int (*memory)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*utilization)(NvmlDevice, NvmlUtilization*) = nullptr;
  int (*temperature)(NvmlDevice, int, unsigned*) = nullptr;
  int (*power)(NvmlDevice, unsigned*) = nullptr;
  NvmlDevice device = nullptr;
  bool is_open = false, has_device = false;
};

DeviceSensors::DeviceSensors(int device)
    : DeviceSensors(properties(device).pci_bus_id, {"libnvidia-ml.so.1", "libnvidia-ml.so"}) {}

DeviceSensors::DeviceSensors(const std::string& pci_bus_id, const std::vector<std::string>& libraries) {
  if (pci_bus_id.empty()) return;
  auto nvml = std::make_unique<const Nvml>(pci_bus_id, libraries);
  if (nvml->has_device) nvml_ = std::move(nvml);
}

DeviceSensors::~DeviceSensors() = default;

SensorReadings DeviceSensors::read() const {
  SensorReadings readings;
  if (!nvml_) return readings;
  const Nvml& nvml = *nvml_;
  if (NvmlMemory memory{}; nvml.memory && nvml.memory(nvml.device, &memory) == kNvmlSuccess)
    readings.memory_used_bytes = int64_t(memory.used);
  if (NvmlUtilization rates{}; nvml.utilization && nvml.utilization(nvml.device, &rates) == kNvmlSuccess)
    readings.utilisation = rates.gpu / 100.0;
  if (unsigned degrees = 0;
      nvml.temperature && nvml.temperature(nvml.device, kNvmlTemperatureGpu, &degrees) == kNvmlSuccess)
    readings.temperature_celsius = degrees;
  if (unsigned milliwatts = 0; nvml.power && nvml.power(nvml.device, &milliwatts) == kNvmlSuccess)
    readings.power_watts = milliwatts / 1000.0;
  return readings;
}

const SensorReadings& DeviceSensors::recent() {
  const auto now = std::chrono::steady_clock::now();
  if (!asked_ || now - *asked_ >= std::chrono::seconds(1)) {
    recent_ = read();
    asked_ = now;
  }
  return recent_;
}

}  // namespace taper::gpu
