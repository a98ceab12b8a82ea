#pragma once
// A recorded sequence of allocations in a file, and its replay: for measuring an allocator, and finding what
// it does badly, without the program that made the requests.
//
// The file has one JSON object a line: {"action":"alloc","addr":7,"size":4096,"stream":0,"op":"conv2d"} or
// {"action":"free_requested","addr":7}. Addresses only tell blocks apart.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper {

/// Writes the allocations and frees among `events`; the rest follows from them. Throws FileError.
void write_memory_trace(const std::string& path, std::span<const gpu::TraceEvent> events);

/// Throws FileError, with the line's number, for a line that is not as above.
std::vector<gpu::TraceEvent> read_memory_trace(const std::string& path);

/// Makes the same requests of `allocator`, in the same order. Stream 0 is its device's default stream; each
/// other number stands for one from the pool. Frees of unknown blocks are left out; what is live at the end
/// is freed. Calls `after_event` with the index of each event it has replayed. Throws OutOfMemoryError, and
/// nothing stays allocated.
void replay_memory_trace(std::span<const gpu::TraceEvent> events, gpu::CachingAllocator& allocator,
                         const std::function<void(size_t index)>& after_event = {});

}  // namespace taper
