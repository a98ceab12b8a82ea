#include "taper/core/allocator.h"

#include "taper/core/gpu/caching_allocator.h"

namespace taper {

Allocator& allocator_for(Device device) {
  return device.is_cpu() ? cpu_allocator() : gpu::caching_allocator(device.index);
}

}  // namespace taper
