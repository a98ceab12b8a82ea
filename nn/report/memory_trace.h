#pragma once
// A recorded sequence of allocations in a file, and its replay: for measuring an allocator, and finding its
// bad cases, without the program that made the requests.
//
// The file has one JSON object a line: {"action":"alloc","addr":7,"size":4096,"stream":0,"op":"conv2d"} or
// {"action":"free_requested","addr":7}. Addresses only tell blocks apart.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper {

/// Writes the allocations and frees among `events`; other events follow from these. Throws FileError.
void write_memory_trace(const std::string& path, std::span<const gpu::TraceEvent> events);

/// Reads the events of write_memory_trace(). Throws FileError, with the line's number, for a malformed line.
std::vector<gpu::TraceEvent> read_memory_trace(const std::string& path);

/// Repeats the requests on `allocator`, in order. Stream 0 is its device's default stream; each other number
/// stands for a stream from the pool. Leaves out frees of unknown blocks, and frees live blocks at the end.
/// Calls `after_event` with each replayed event's index. Throws OutOfMemoryError, leaving nothing allocated.
void replay_memory_trace(std::span<const gpu::TraceEvent> events, gpu::CachingAllocator& allocator,
                         const std::function<void(size_t index)>& after_event = {});

}  // namespace taper
