#pragma once
// Invariants of a caching allocator, checked from its snapshot.

#include <cstdint>
#include <map>

#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::test {

/// Live blocks as the test knows them: address and requested bytes.
using LiveBlocks = std::map<uintptr_t, size_t>;

inline uintptr_t address(const void* ptr) {
  return reinterpret_cast<uintptr_t>(ptr);
}

/// Fails the test unless blocks tile their segments without overlap, free neighbours are merged, exactly
/// `live` is handed out, and every number of memory_stats() follows from the blocks.
void check_allocator(const gpu::CachingAllocator& allocator, const LiveBlocks& live);

/// Fails the test unless every segment is one free block.
void check_all_merged(const gpu::CachingAllocator& allocator);

}  // namespace taper::test
