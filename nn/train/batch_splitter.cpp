#include "taper/nn/train/batch_splitter.h"

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/error.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/storage.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

/// Appends the batch in parts of at most `size` images, as even as can be: a single image left over would be hard on batch
/// norm.
void append_parts(const Batch& batch, int64_t size, size_t batches, std::vector<BatchPart>& parts) {
  const int64_t all = batch.size(), count = ceil_div(all, size);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = all * i / count, end = all * (i + 1) / count;
    parts.push_back(
        {count == 1 ? batch : batch.slice(begin, end), double(batches) * double(all) / double(end - begin)});
  }
}

int64_t largest_of(const std::vector<BatchPart>& parts) {
  int64_t size = 0;
  for (const BatchPart& part : parts) size = std::max(size, part.batch.size());
  return size;
}

/// Gives the memory that an attempt has left behind back to the system. Until now work may be under way on streams that
/// the attempt did not get to join.
void release_memory(Device device) {
  if (device.is_cuda()) gpu::synchronize(device.index);
  allocator_for(device).empty_cache();
}

}  // namespace

std::vector<BatchPart> whole_batches(const std::vector<Batch>& batches) {
  std::vector<BatchPart> parts;
  for (const Batch& batch : batches) parts.push_back({batch, double(batches.size())});
  return parts;
}

BatchSplitter::BatchSplitter(Module& model, Listener listener)
    : listener_(std::move(listener)), training_(true) {
  for (const Tensor& buffer : model.buffers()) buffers_.push_back({buffer, empty_like(buffer)});
}

void BatchSplitter::save_state() {
  if (!training_) return;
  for (const auto& [buffer, copy] : buffers_) ops::copy_(copy, buffer);
  generator_ = default_generator().state();
}

void BatchSplitter::restore_state() {
  if (!training_) return;
  for (const auto& [buffer, copy] : buffers_) ops::copy_(buffer, copy);
  default_generator().set_state(generator_);
}

std::vector<BatchPart> BatchSplitter::parts_of(const std::vector<Batch>& batches) const {
  if (part_size_ == 0) return whole_batches(batches);
  std::vector<BatchPart> parts;
  for (const Batch& batch : batches) append_parts(batch, part_size_, batches.size(), parts);
  return parts;
}

void BatchSplitter::run(const std::vector<Batch>& batches,
                        const std::function<void(const std::vector<BatchPart>&)>& attempt,
                        const std::function<void()>& undo) {
  save_state();
  std::string lacked;       // what the last attempt ran out of memory with; empty: there was none
  int64_t did_not_fit = 0;  // its images at a time
  for (;;) {
    const std::vector<BatchPart> parts = parts_of(batches);
    const int64_t size = largest_of(parts);
    try {
      attempt(parts);
      break;
    } catch (const OutOfMemoryError& error) {
      lacked = error.what();
    } catch (const Error& error) {
      if (lacked.empty()) throw;
      fail<OutOfMemoryError>("{} images at a time do not fit ({}), and {} cannot be computed: {}",
                             did_not_fit, lacked, size, error.what());
    }
    // Here, after the handler, nothing of the attempt is alive but what it has stored.
    undo();
    restore_state();
    release_memory(batches.front().images.device());
    if (size <= 1) fail<OutOfMemoryError>("not even one image at a time fits: {}", lacked);
    did_not_fit = size;
    part_size_ = ceil_div(size, 2);
  }
  if (!lacked.empty() && listener_)
    listener_({.batch_size = batches.front().size(), .part_size = part_size_, .training = training_});
}

}  // namespace taper
