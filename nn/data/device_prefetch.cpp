#include "taper/nn/data/device_prefetch.h"

namespace taper {
namespace {

// The batch in use and the one being copied.
constexpr size_t kAhead = 2;

}  // namespace

DevicePrefetch::DevicePrefetch(Device device, BatchFinisher& finish)
    : device_(device),
      finish_(finish),
      stream_(gpu::stream_from_pool(device.index, gpu::StreamPriority::kHigh)) {}

std::optional<Batch> DevicePrefetch::next(BatchReader& reader) {
  const bool at_end = !ahead_.empty() && !ahead_.back().batch && !ahead_.back().error;
  while (!at_end && ahead_.size() < kAhead) {
    fetch(reader);
    if (!ahead_.back().batch) break;
  }
  Ahead first = std::move(ahead_.front());
  ahead_.pop_front();
  if (first.error) std::rethrow_exception(first.error);
  if (!first.batch) return std::nullopt;
  const gpu::Stream now = gpu::current_stream(device_.index);
  now.wait(first.copied);
  const Batch& batch = *first.batch;
  for (const Tensor& tensor : {batch.images, batch.labels, batch.probabilities, batch.erased}) {
    if (tensor.defined()) gpu::record_stream(*tensor.storage(), now);
  }
  return std::move(first.batch);
}

// Reads one more batch, or the end of the epoch, or an error for next() to throw instead of the batch.
void DevicePrefetch::fetch(BatchReader& reader) {
  Ahead& next = ahead_.emplace_back();
  try {
    next.batch = reader.next();
    if (!next.batch) return;
    const gpu::StreamGuard guard(stream_);
    finish_(*next.batch);
    next.copied.record(stream_);
  } catch (...) {
    next.batch.reset();
    next.error = std::current_exception();
  }
}

}  // namespace taper
