// Current streams, guards and the stream pool: the same for both runtimes.

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "taper/core/error.h"
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

thread_local std::vector<std::optional<Stream>> current_streams;

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
  } catch (const Error&) {  // only of a device that is lost, which whoever uses it next will hear
  }
}

Stream default_stream(int device) {
  detail::check_device("default_stream", device);
  return StreamAccess::make(device, 0, StreamPriority::kNormal, nullptr);
}

Stream stream_from_pool(int device, StreamPriority priority) {
  detail::check_device("stream_from_pool", device);
  Pool& streams = pool(device, priority);
  const unsigned index = streams.next.fetch_add(1, std::memory_order_relaxed) % kPoolSize;
  std::call_once(streams.created[index],
                 [&] { streams.handles[index] = detail::create_stream_handle(device, priority); });
  const int id = 1 + static_cast<int>(index) + (priority == StreamPriority::kHigh ? kPoolSize : 0);
  return StreamAccess::make(device, id, priority, streams.handles[index]);
}

Stream current_stream(int device) {
  const auto index = static_cast<size_t>(device);
  if (index >= current_streams.size() || !current_streams[index]) set_current_stream(default_stream(device));
  return *current_streams[index];
}

void set_current_stream(Stream stream) {
  const auto index = static_cast<size_t>(stream.device());
  if (current_streams.size() <= index) current_streams.resize(index + 1);
  current_streams[index] = stream;
}

StreamGuard::StreamGuard(Stream stream)
    : device_(stream.device()), previous_(current_stream(stream.device())) {
  set_current_stream(stream);
}

StreamGuard::~StreamGuard() {
  set_current_stream(previous_);
}

}  // namespace taper::gpu
