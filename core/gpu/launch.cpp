#include "taper/core/gpu/launch.h"

#include "taper/core/base/error.h"
#include "taper/core/gpu/launch_text.h"

namespace taper::gpu::detail {

std::string launch_text(const char* name, const LaunchConfig& config) {
  const dim3 &g = config.grid, &b = config.block;
  return fmt::format(
      "launch of {} on cuda:{} with grid ({}, {}, {}), block ({}, {}, {}), {} bytes of dynamic shared memory",
      name, config.stream.device(), g.x, g.y, g.z, b.x, b.y, b.z, config.dynamic_shared_bytes);
}

// The limits of every device since compute capability 3.0 (CUDA Programming Guide, "Technical
// Specifications").
void check_launch(const char* name, const LaunchConfig& config) {
  const dim3 &grid = config.grid, &block = config.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  TAPER_CHECK(threads >= 1 && threads <= 1024 && block.z <= 64,
              "{}: a block has 1 to 1024 threads, at most 64 of them along z", launch_text(name, config));
  TAPER_CHECK(grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
                  grid.z <= 65535,
              "{}: a grid has 1 to 2147483647 blocks along x, 1 to 65535 along y and z",
              launch_text(name, config));
  const size_t shared = properties(config.stream.device()).shared_memory_per_block_bytes;
  TAPER_CHECK(config.dynamic_shared_bytes <= shared, "{}: a block has at most {} bytes of shared memory",
              launch_text(name, config), shared);
}

}  // namespace taper::gpu::detail
