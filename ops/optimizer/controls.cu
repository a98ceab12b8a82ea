#include "taper/core/gpu/launch.h"
#include "taper/ops/optimizer/control_formulas.h"

namespace taper::ops {
namespace {

/// Runs `update` in one thread. Reads and writes a few numbers; limited by latency.
template <class Update>
__global__ void update_controls(Update update) {
  update();
}

template <class Update>
void launch_alone(const char* name, const Update& update, Device device) {
  const gpu::DeviceGuard guard(device.index);
  gpu::launch(name, update_controls<Update>, {.grid = 1, .block = 1}, update);
}

}  // namespace

void run_gpu(const UpdateScale& update, Device device) {
  launch_alone("update_scale", update, device);
}

void run_gpu(const CountUpdate& update, Device device) {
  launch_alone("count_update", update, device);
}

void run_gpu(const Choose& update, Device device) {
  launch_alone("choose", update, device);
}

}  // namespace taper::ops
