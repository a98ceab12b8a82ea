#include "taper/ops/conv/cpu/source_columns.h"

namespace taper::ops {

std::vector<DepthBlock> column_blocks(const Region& region, int64_t channels, int64_t longest, int64_t step) {
  std::vector<DepthBlock> blocks;
  for (size_t i = 0; i < region.strips.size();) {
    const int64_t first_tap = region.strips[i].tap;
    int64_t end_tap = first_tap;
    while (i < region.strips.size() && region.strips[i].tap == end_tap) end_tap += region.strips[i++].length;
    append_depth_blocks(first_tap * channels, (end_tap - first_tap) * channels, longest, blocks, step);
  }
  return blocks;
}

}  // namespace taper::ops
