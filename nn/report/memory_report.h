#pragma once
// Where the device's memory went, as a page to look at: the timeline of allocated and reserved bytes by
// operation, the segments with their blocks, and the largest holders. One HTML file that needs no network.
// PyTorch's counterpart: torch.cuda.memory._record_memory_history and the page pytorch.org/memory_viz.

#include <span>
#include <string>

#include "taper/core/gpu/memory/memory_snapshot.h"

namespace taper {

/// Starts, or restarts, the history that the report's timeline shows: the last `max_events` allocations and
/// frees on each device, at about 100 bytes each. Does nothing on a machine without a GPU.
void record_memory_history(size_t max_events = 1'000'000);

/// Writes the page for the present state of all devices. Throws FileError.
void write_memory_report(const std::string& path);

/// Writes the page for these snapshots. Throws FileError.
void write_memory_report(const std::string& path, std::span<const gpu::MemorySnapshot> snapshots);

}  // namespace taper
