#pragma once  // spine 9 (docs/0-the-spine.md)
// Loops over the CPU's cores. The caller chooses the size of the pieces, and the number of threads never
// does, so results are equal to the bit for any thread count. PyTorch's counterpart: ATen/Parallel.h.

#include <cstdint>
#include <memory>
#include <type_traits>

#include "taper/core/base/ceil_div.h"

namespace taper {

/// Returns the number of threads that parallel_for uses, the caller's included. Initially available_cpus(),
/// or as many as can be started.
int num_threads();
/// Throws Error unless 1 <= count <= 1024, and when called from the body of a loop.
void set_num_threads(int count);
/// Returns whether this thread runs a piece of a loop that other threads share.
bool in_parallel_loop();

namespace detail {
using ChunkFunction = void (*)(void* context, int64_t chunk);
void run_chunks(int64_t count, ChunkFunction function, void* context);
}  // namespace detail

/// Calls body(chunk) for chunk in [0, count), spread over the threads in no particular order. Rethrows the
/// first exception after all threads have stopped. A call from inside a body runs on the calling thread
/// alone.
template <class Body>
void parallel_chunks(int64_t count, Body&& body) {
  detail::run_chunks(
      count,
      [](void* context, int64_t chunk) { (*static_cast<std::remove_reference_t<Body>*>(context))(chunk); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

/// Calls body(begin, end) for pieces of [0, size), each `grain` long; the last may be shorter.
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
