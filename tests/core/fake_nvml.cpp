// NVML as device_sensors.cpp opens it, with one GPU at 0000:3b:00.0. TAPER_FAKE_NVML_FAILS=1 makes every reading
// fail, as on a GPU that measures nothing.

#include <cstdlib>
#include <cstring>

extern "C" {

int nvmlInit_v2() {
  return 0;
}

int nvmlShutdown() {
  return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** device) {
  static int gpu = 0;
  *device = &gpu;
  return std::strcmp(bus_id, "0000:3b:00.0") == 0 ? 0 : 6;  // NVML_ERROR_NOT_FOUND
}

static int result() {
  return std::getenv("TAPER_FAKE_NVML_FAILS") != nullptr ? 3 : 0;  // NVML_ERROR_NOT_SUPPORTED
}

int nvmlDeviceGetMemoryInfo(void* /*device*/, unsigned long long* total_free_used) {
  total_free_used[0] = 80'000'000'000;
  total_free_used[1] = 74'000'000'000;
  total_free_used[2] = 6'000'000'000;
  return result();
}

int nvmlDeviceGetUtilizationRates(void* /*device*/, unsigned* gpu_memory) {
  gpu_memory[0] = 97;
  gpu_memory[1] = 40;
  return result();
}

int nvmlDeviceGetTemperature(void* /*device*/, int sensor, unsigned* degrees) {
  *degrees = sensor == 0 ? 54 : 0;
  return result();
}

int nvmlDeviceGetPowerUsage(void* /*device*/, unsigned* milliwatts) {
  *milliwatts = 310'500;
  return result();
}
}
