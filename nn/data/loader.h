#pragma once
// DataLoader: batches of a data set, in order, made ahead of time by worker threads. What a batch holds
// depends on (seed, epoch, step) alone: any number of workers gives the same bits, and a run can resume
// anywhere. PyTorch's counterpart: torch/utils/data/dataloader.py.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/transforms.h"

namespace taper {

/// What becomes of a picture that cannot be read.
enum class BrokenPictures {
  kRefuse,   ///< next() throws its FileError
  kSkip,     ///< it is left out of its batch: each readable picture counts once (evaluation)
  kReplace,  ///< a readable picture of its class takes its place, drawn from (seed, epoch, index): batches
             ///< stay full, and no picture counts much more than another (training). next() throws FileError
             ///< if the class has none.
};

struct DataLoaderOptions {
  int64_t batch_size = 32;
  /// A new order each epoch, instead of the data set's own.
  bool shuffle = false;
  /// Leaves out the samples at the epoch's end that do not fill a batch.
  bool drop_last = false;
  /// Threads that read pictures; 0 reads them in the thread that calls next().
  int workers = 0;
  /// Batches that workers may be ahead.
  int prefetch = 3;
  BrokenPictures broken = BrokenPictures::kRefuse;
  /// Leaves the pixels as they are, for a DeviceLoader to normalise where the model is: a quarter of the
  /// bytes to copy.
  bool raw_pixels = false;
  /// Makes batches in pinned memory, for copies to a GPU that need not wait.
  bool pinned_memory = false;
  /// Of the order and of the augmentation.
  uint64_t seed = 0;
};

struct Batch {
  Tensor images;     ///< [N, 3, H, W] f32, channels_last; with raw_pixels [N, H, W, 3] u8
  Tensor labels;     ///< [N] i64
  int64_t step = 0;  ///< its place in the epoch, from 0

  int64_t size() const { return labels.size(0); }
};

/// Used from one thread. Destroying it in the middle of an epoch stops the workers.
class DataLoader {
 public:
  /// Throws Error if the data set holds no batch or an option is out of range.
  DataLoader(std::shared_ptr<const Dataset> dataset, ImageTransform transform,
             DataLoaderOptions options = {});
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  const Dataset& dataset() const { return *dataset_; }
  const DataLoaderOptions& options() const { return options_; }
  int64_t batches_per_epoch() const;

  /// Begins (or, with step > 0, continues) epoch `epoch`; the next batch will be number `step`. An epoch
  /// under way is abandoned. Throws Error unless 0 <= epoch < 2^20 and 0 <= step <= batches_per_epoch().
  void start(int64_t epoch, int64_t step = 0);

  /// The next batch of the epoch, nothing at its end or before the first start(). Throws what reading a
  /// sample has thrown (of several, the first of the batch), OutOfMemoryError that names the sample where
  /// memory was short; the call after that gives the batch after that.
  std::optional<Batch> next();

  /// One line for each unreadable picture met so far, sorted: its path and what was wrong.
  std::vector<std::string> broken_pictures() const;

 private:
  class BrokenList;
  class Epoch;

  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::vector<int64_t>> samples_by_class_;  // if broken pictures are replaced
  ImageTransform transform_;
  DataLoaderOptions options_;
  std::unique_ptr<BrokenList> broken_;
  std::unique_ptr<Epoch> epoch_;  // last, so that its threads end before what they use
};

/// The order in which epoch `epoch` visits 0 .. size - 1: a permutation drawn from (seed, epoch).
/// Throws Error unless 0 <= size < 2^32.
std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch);

}  // namespace taper
