#pragma once
// BatchFinisher: the last steps from pixels to what a network takes, on the batch's device: normalises, erases, mixes.

#include "taper/nn/data/loader.h"

namespace taper {

class BatchFinisher {
 public:
  explicit BatchFinisher(const DataLoaderOptions& options) : options_(options) {}

  /// Moves a BatchReader's batch to the loader's device and turns its pixels into normalised images; erases what the
  /// batch says, then mixes as drawn from (seed, epoch, step). A GPU does it when it gets there.
  void operator()(Batch& batch);

 private:
  void erase(Batch& batch);

  const DataLoaderOptions& options_;
  Tensor positions_;  ///< 0, 1, ... up to the side of an image, on the device
};

}  // namespace taper
