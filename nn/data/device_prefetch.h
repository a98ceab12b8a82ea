#pragma once
// DevicePrefetch: copies a DataLoader's batches to a GPU ahead of time, from pinned memory on a stream of its
// own, while the GPU works on the previous batch.

#include <deque>
#include <exception>
#include <optional>

#include "taper/core/gpu/runtime.h"
#include "taper/nn/data/batch_reader.h"
#include "taper/nn/data/finish_batch.h"

namespace taper {

class DevicePrefetch {
 public:
  /// `finish` brings batches to `device`, a GPU. It must outlive the object.
  DevicePrefetch(Device device, BatchFinisher& finish);

  /// Returns the next batch of `reader`, whose batches are in pinned memory. Work enqueued from now on runs
  /// after the batch's copy; the host does not wait. Throws what the reader threw for this batch.
  std::optional<Batch> next(BatchReader& reader);
  /// Drops the batches that were read ahead.
  void clear() { ahead_.clear(); }

 private:
  struct Ahead {
    std::optional<Batch> batch;  // on the device; nothing at the epoch's end
    gpu::Event copied;
    std::exception_ptr error;
  };

  void fetch(BatchReader& reader);

  Device device_;
  BatchFinisher& finish_;
  gpu::Stream stream_;  // for the copies
  std::deque<Ahead> ahead_;
};

}  // namespace taper
