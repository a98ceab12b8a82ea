#include "taper/autograd/tape/stream_order.h"

#include <algorithm>

#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper {
namespace {

/// `later` waits for the work enqueued on `earlier` so far.
void wait_for(gpu::Stream later, gpu::Stream earlier) {
  const gpu::DeviceGuard guard(earlier.device());
  gpu::Event event;
  event.record(earlier);
  later.wait(event);
}

}  // namespace

void detail::hand_over(const Tensor& x, gpu::Stream made_on, gpu::Stream stream) {
  if (made_on == stream) return;
  // A graph is replayed after what was there before it.
  if (gpu::is_capturing(stream) && !gpu::is_capturing(made_on)) return;
  wait_for(stream, made_on);
  gpu::record_stream(*x.storage(), stream);
}

void StreamOrder::add(gpu::Stream stream) {
  const gpu::Stream home =
      home_.try_emplace(stream.device(), gpu::current_stream(stream.device())).first->second;
  if (stream == home || std::find(visited_.begin(), visited_.end(), stream) != visited_.end()) return;
  visited_.push_back(stream);
}

gpu::Stream StreamOrder::stream_of(const Node& node, Device device) const {
  if (node.stream() && node.stream()->device() == device.index) return *node.stream();
  const auto home = home_.find(device.index);
  return home != home_.end() ? home->second : gpu::current_stream(device.index);
}

void StreamOrder::hand_over(const Tensor& grad, gpu::Stream stream) const {
  detail::hand_over(grad, gpu::current_stream(grad.device().index), stream);
}

void StreamOrder::join() const {
  for (const gpu::Stream stream : visited_) wait_for(home_.at(stream.device()), stream);
}

}  // namespace taper
