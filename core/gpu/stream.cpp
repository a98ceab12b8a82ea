// Current streams, guards and the stream pool, for both runtimes.

#include <array>
#include <atomic>
#include <mutex>

#include "taper/core/base/error.h"
#include "taper/core/gpu/stream_access.h"

namespace taper::gpu {
namespace {

using detail::kMaxDevices;

constexpr int kPoolSize = 32;

struct Pool {
  std::atomic<unsigned> next{0};
  std::array<std::once_flag, kPoolSize> created;
  std::array<CUstream_st*, kPoolSize> handles{};
};

Pool& pool(int device, StreamPriority priority) {
  // Leaked on purpose: streams outlive every static object that may still use one.
  static auto& pools = *new std::array<std::array<Pool, 2>, kMaxDevices>();
  return pools[static_cast<size_t>(device)][priority == StreamPriority::kHigh];
}

/// By device; 0 is the default stream. Has no destructor, because destructors of static objects may use the
/// GPU, and they run after those of thread-local objects.
constinit thread_local std::array<uint8_t, kMaxDevices> current_stream_ids{};

/// Returns the stream with this id. stream_from_pool has made it if it belongs to the pool.
Stream stream_of_id(int device, int id) {
  if (id == 0) return StreamAccess::make(device, 0, StreamPriority::kNormal, nullptr);
  const bool high = id > kPoolSize;
  const auto priority = high ? StreamPriority::kHigh : StreamPriority::kNormal;
  const int index = id - 1 - (high ? kPoolSize : 0);
  return StreamAccess::make(device, id, priority, pool(device, priority).handles[static_cast<size_t>(index)]);
}

}  // namespace

void detail::check_device(const char* call, int device) {
  const int count = device_count();
  TAPER_CHECK(device >= 0 && device < count && device < kMaxDevices,
              "{}: there is no cuda:{}; this machine has {} device{}{}", call, device, count,
              count == 1 ? "" : "s", is_simulated() ? " (simulated)" : "");
}

DeviceGuard::~DeviceGuard() {
  try {
    if (current_device() != previous_) set_device(previous_);
  } catch (const Error&) {  // only for a lost device; the next use of it throws
  }
}

Stream default_stream(int device) {
  detail::check_device("default_stream", device);
  return stream_of_id(device, 0);
}

Stream stream_from_pool(int device, StreamPriority priority) {
  detail::check_device("stream_from_pool", device);
  Pool& streams = pool(device, priority);
  const unsigned index = streams.next.fetch_add(1, std::memory_order_relaxed) % kPoolSize;
  std::call_once(streams.created[index],
                 [&] { streams.handles[index] = detail::create_stream_handle(device, priority); });
  return stream_of_id(device,
                      1 + static_cast<int>(index) + (priority == StreamPriority::kHigh ? kPoolSize : 0));
}

Stream current_stream(int device) {
  detail::check_device("current_stream", device);
  return stream_of_id(device, current_stream_ids[static_cast<size_t>(device)]);
}

void set_current_stream(Stream stream) {
  current_stream_ids[static_cast<size_t>(stream.device())] = static_cast<uint8_t>(stream.id());
}

StreamGuard::StreamGuard(Stream stream)
    : device_(stream.device()), previous_(current_stream(stream.device())) {
  set_current_stream(stream);
}

StreamGuard::~StreamGuard() {
  set_current_stream(previous_);
}

}  // namespace taper::gpu
