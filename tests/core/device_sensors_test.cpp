// Sensors of a GPU, read through a library that stands in for NVML.

#include "taper/core/gpu/device_sensors.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "skip.h"
#include "taper/core/gpu/runtime.h"

using namespace taper;

namespace {

const std::vector<std::string> kFakeNvml = {TAPER_FAKE_NVML};

/// On other machines than the build's, only the tests' program is there.
bool lacks_fake_nvml() {
  if (std::filesystem::exists(kFakeNvml[0])) return false;
  skip("the library that stands in for NVML is not here");
  return true;
}

const gpu::SensorReadings kNothing;

}  // namespace

TEST_CASE("a GPU is found by its address and says how it is") {
  if (lacks_fake_nvml()) return;
  gpu::DeviceSensors sensors("0000:3b:00.0", kFakeNvml);
  const gpu::SensorReadings readings = sensors.read();
  CHECK(readings.memory_used_bytes == 6'000'000'000);
  CHECK(readings.utilisation == 0.97);
  CHECK(readings.temperature_celsius == 54);
  CHECK(readings.power_watts == 310.5);
  CHECK(sensors.recent() == readings);
}

TEST_CASE("recent readings are asked for once a second") {
  if (lacks_fake_nvml()) return;
  gpu::DeviceSensors sensors("0000:3b:00.0", kFakeNvml);
  const gpu::SensorReadings readings = sensors.recent();
  setenv("TAPER_FAKE_NVML_FAILS", "1", 1);
  CHECK(sensors.recent() == readings);
  CHECK(sensors.read() == kNothing);  // nothing is measured, and nothing fails
  unsetenv("TAPER_FAKE_NVML_FAILS");
}

TEST_CASE("without NVML, or without the GPU in it, nothing is known") {
  if (lacks_fake_nvml()) return;
  CHECK(gpu::DeviceSensors("0000:3b:00.0", {"libtaper-no-such-nvml.so.1"}).read() == kNothing);
  CHECK(gpu::DeviceSensors("0000:3c:00.0", kFakeNvml).read() == kNothing);
  CHECK(gpu::DeviceSensors("", kFakeNvml).read() == kNothing);
  CHECK(gpu::DeviceSensors("0000:3b:00.0", {"libm.so.6"}).read() ==
        kNothing);  // a library with other functions
}

TEST_CASE("the sensors of this build's devices can be asked") {
  for (int device = 0; device < gpu::device_count(); ++device) {
    INFO(gpu::properties(device).pci_bus_id);
    CHECK(gpu::properties(device).pci_bus_id.empty() == gpu::is_simulated());
    const gpu::SensorReadings readings = gpu::DeviceSensors(device).read();
    if (gpu::is_simulated()) CHECK(readings == kNothing);
    if (readings.utilisation) CHECK((*readings.utilisation >= 0 && *readings.utilisation <= 1));
    if (readings.memory_used_bytes)
      CHECK(*readings.memory_used_bytes <= int64_t(gpu::properties(device).total_memory_bytes) * 2);
  }
}
