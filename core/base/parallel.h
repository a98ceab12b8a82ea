#pragma once
// Loops over the CPU's cores. Work is cut into pieces of a size the caller chooses, never by the number of
// threads, so that results are the same bits for any thread count. PyTorch's counterpart: ATen/Parallel.h.

#include <cstdint>
#include <memory>
#include <type_traits>

#include "taper/core/base/ceil_div.h"

namespace taper {

/// Threads that parallel_for uses, this one included. At first available_cpus(), or as many as can be
/// started.
int num_threads();
/// Throws Error unless 1 <= count <= 1024, and in the body of a loop.
void set_num_threads(int count);
/// True on a thread that runs a piece of a loop which other threads share.
bool in_parallel_loop();

namespace detail {
using ChunkFunction = void (*)(void* context, int64_t chunk);
void run_chunks(int64_t count, ChunkFunction function, void* context);
}  // namespace detail

/// Calls body(chunk) for chunk in [0, count), spread over the threads in no particular order. The first
/// exception is rethrown here after all threads have stopped. Calls from inside a body run in place.
template <class Body>
void parallel_chunks(int64_t count, Body&& body) {
  detail::run_chunks(
      count,
      [](void* context, int64_t chunk) { (*static_cast<std::remove_reference_t<Body>*>(context))(chunk); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

/// Calls body(begin, end) over [0, size) in pieces of `grain` (the last may be shorter).
template <class Body>
void parallel_for(int64_t size, int64_t grain, Body&& body) {
  if (size <= 0) return;
  if (grain < 1) grain = 1;
  parallel_chunks(ceil_div(size, grain), [&](int64_t chunk) {
    const int64_t begin = chunk * grain;
    const int64_t end = begin + grain < size ? begin + grain : size;
    body(begin, end);
  });
}

}  // namespace taper
