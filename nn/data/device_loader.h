#pragma once
// DeviceLoader: the batches of a DataLoader where the model is. On a GPU the next batch is copied, from
// pinned memory on a stream of its own, while the GPU works on this one.

#include <deque>
#include <exception>
#include <optional>

#include "taper/core/gpu/runtime.h"
#include "taper/nn/data/loader.h"

namespace taper {

/// Used from one thread, instead of the loader it is made on.
class DeviceLoader {
 public:
  /// Images come as [N, 3, H, W] in `dtype`, channels_last. For a GPU, have `loader` make batches in pinned
  /// memory and leave raw pixels. `loader` must outlive this. Throws Error if there is no such device.
  DeviceLoader(DataLoader& loader, Device device, DType dtype = kFloat32);

  /// As DataLoader::start.
  void start(int64_t epoch, int64_t step = 0);

  /// As DataLoader::next. On a GPU, work that is enqueued from now on runs after the copy; nothing waits.
  std::optional<Batch> next();

 private:
  struct Ahead {
    std::optional<Batch> batch;  // on the device; nothing at the epoch's end
    gpu::Event copied;
    std::exception_ptr error;
  };

  void fetch();

  DataLoader& loader_;
  Device device_;
  DType dtype_;
  std::optional<gpu::Stream> stream_;  // of the copies
  std::deque<Ahead> ahead_;
};

}  // namespace taper
