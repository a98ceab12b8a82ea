#pragma once  // spine 62 (docs/0-the-spine.md)
// DataLoader: batches of a data set, in order, made ahead of time by worker threads. A batch depends on
// (seed, epoch, step) alone: any number of workers gives the same bits, and a run can resume anywhere.
// PyTorch's counterpart: torch/utils/data/dataloader.py.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/nn/data/batch.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/mix.h"
#include "taper/nn/data/transforms.h"

namespace taper {

/// What to do with an image that cannot be read.
enum class BrokenImages {
  kRefuse,   ///< next() throws its FileError
  kSkip,     ///< its batch goes without it: each readable image counts once (evaluation)
  kReplace,  ///< a readable image of its class takes its place, drawn from (seed, epoch, index): batches
             ///< stay full, and no image counts much more than another (training). next() throws FileError
             ///< if the class has none.
};

/// One rank's part of the batches of several: each rank has other images of the same batches.
struct DataShard {
  int rank = 0;
  int size = 1;  ///< ranks
};

struct DataLoaderOptions {
  int64_t batch_size = 32;  ///< of all ranks together
  /// Which part of each batch to return: images [n * rank / size, n * (rank + 1) / size) of its n, the same ones whatever
  /// the number of ranks. An empty part is left out. Each rank mixes images of its own part.
  DataShard shard = {};
  /// A new order in each epoch, instead of the data set's own.
  bool shuffle = false;
  /// Leaves out the samples at the epoch's end that do not fill a batch.
  bool drop_last = false;
  /// Threads that read images; 0 reads them in the thread that calls next().
  int workers = 0;
  /// Batches that workers may prefetch.
  int prefetch = 3;
  BrokenImages broken = BrokenImages::kRefuse;
  /// The batches' device. A GPU copies and normalises the next batch while it works on this one.
  Device device = kCPU;
  /// The images' dtype, a floating-point one.
  DType dtype = kFloat32;
  /// Seeds the order, the augmentation and the mixing.
  uint64_t seed = 0;
  /// mixup and CutMix of each batch.
  MixOptions mix = {};
};

struct BatchSource;
class BatchReader;
class BatchFinisher;
class DevicePrefetch;

/// Used from one thread. Destroying it in the middle of an epoch stops the workers.
class DataLoader {
 public:
  /// Throws Error if the data set fills no batch, an option is out of range, or there is no such device.
  DataLoader(std::shared_ptr<const Dataset> dataset, ImageTransform transform,
             DataLoaderOptions options = {});
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  const Dataset& dataset() const;
  const DataLoaderOptions& options() const;
  /// Returns the picture that the network gets of image `index` in epoch 0, before it is normalised. Throws
  /// what reading the image throws.
  Image picture(int64_t index) const;
  int64_t batches_per_epoch() const;

  /// Begins epoch `epoch` at batch `step`; a step > 0 continues an epoch. Abandons an epoch under way. Throws
  /// Error unless 0 <= epoch < 2^20 and 0 <= step <= batches_per_epoch().
  void start(int64_t epoch, int64_t step = 0);

  /// Returns the next batch of the epoch; nothing at its end or before the first start(). Throws what reading
  /// a sample threw, for the first such sample of the batch, or OutOfMemoryError naming the sample. The call
  /// afterwards returns the batch after the failed one.
  std::optional<Batch> next();

  /// Returns a line for each unreadable image so far, sorted: its path and what was wrong.
  std::vector<std::string> broken_images() const;
  /// Returns the line for image `index` of the data set; empty unless the image was found unreadable.
  std::string broken_image(int64_t index) const;

 private:
  std::unique_ptr<BatchSource> source_;
  std::unique_ptr<BatchReader> reader_;  // after source_, so that its threads end before what they use
  std::unique_ptr<BatchFinisher> finish_;
  std::unique_ptr<DevicePrefetch> prefetch_;  // on a GPU
};

/// Returns the order in which epoch `epoch` visits 0 .. size - 1: a permutation drawn from (seed, epoch).
/// Throws Error unless 0 <= size < 2^32.
std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch);

}  // namespace taper
