#include "taper/nn/data/device_loader.h"

#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/image/pictures.h"

namespace taper {
namespace {

// The batch in use and the one being copied.
constexpr size_t kAhead = 2;

// What the model takes, from what a loader made.
Tensor as_input(const Tensor& images, DType dtype) {
  return images.dtype() == kUInt8 ? ops::normalize_pictures(images, {.dtype = dtype})
                                  : ops::cast(images, dtype);
}

}  // namespace

DeviceLoader::DeviceLoader(DataLoader& loader, Device device, DType dtype)
    : loader_(loader), device_(device), dtype_(dtype) {
  allocator_for(device);  // refuses a device that is not there
  if (device.is_cuda()) stream_ = gpu::stream_from_pool(device.index, gpu::StreamPriority::kHigh);
}

void DeviceLoader::start(int64_t epoch, int64_t step) {
  ahead_.clear();
  loader_.start(epoch, step);
}

std::optional<Batch> DeviceLoader::next() {
  if (!stream_) {
    std::optional<Batch> batch = loader_.next();
    if (batch) batch->images = as_input(batch->images, dtype_);
    return batch;
  }
  const bool at_end = !ahead_.empty() && !ahead_.back().batch && !ahead_.back().error;
  while (!at_end && ahead_.size() < kAhead) {
    fetch();
    if (!ahead_.back().batch) break;
  }
  Ahead first = std::move(ahead_.front());
  ahead_.pop_front();
  if (first.error) std::rethrow_exception(first.error);
  if (!first.batch) return std::nullopt;
  const gpu::Stream now = gpu::current_stream(device_.index);
  now.wait(first.copied);
  for (const Tensor& tensor : {first.batch->images, first.batch->labels}) {
    gpu::record_stream(*tensor.storage(), now);
  }
  return std::move(first.batch);
}

// One more batch, or the end of the epoch, or the error that is to surface in its place.
void DeviceLoader::fetch() {
  Ahead& next = ahead_.emplace_back();
  try {
    next.batch = loader_.next();
    if (!next.batch) return;
    const gpu::StreamGuard guard(*stream_);
    Batch& batch = *next.batch;
    batch.images = as_input(ops::to_device(batch.images, device_, true), dtype_);
    batch.labels = ops::to_device(batch.labels, device_, true);
    next.copied.record(*stream_);
  } catch (...) {
    next.batch.reset();
    next.error = std::current_exception();
  }
}

}  // namespace taper
