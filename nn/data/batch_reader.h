#pragma once
// BatchReader: one epoch of a DataLoader on the CPU. Worker threads read and transform samples into a window
// of batches; next() hands the batches out in order.

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "taper/nn/data/loader.h"

namespace taper {

/// The images that could not be read, in all threads and epochs; each is listed once.
class UnreadableImages {
 public:
  void add(int64_t index, const std::string& message);
  bool contains(int64_t index) const;
  /// Returns what was wrong with image `index`, which must be in the list.
  std::string message(int64_t index) const;
  /// Returns all messages, sorted.
  std::vector<std::string> messages() const;

 private:
  mutable std::mutex mutex_;
  std::map<int64_t, std::string> messages_;
};

/// What every epoch's reader of a loader uses. Each member outlives the readers.
struct BatchSource {
  std::shared_ptr<const Dataset> dataset;
  std::vector<std::vector<int64_t>> samples_by_class;  ///< if unreadable images are replaced
  ImageTransform transform;
  DataLoaderOptions options;
  UnreadableImages unreadable;

  int64_t batches_per_epoch() const;
};

/// Used from one thread.
class BatchReader {
 public:
  /// Makes batch number `step` of epoch `epoch` the first.
  BatchReader(BatchSource& source, int64_t epoch, int64_t step);
  ~BatchReader();
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  /// Returns what DataLoader::next() does, but with images [N, H, W, 3] u8 on the CPU, in pinned memory if
  /// the loader's device is a GPU.
  std::optional<Batch> next();

 private:
  /// An unfinished batch. Threads write different samples; the reader's lock guards the counters.
  struct PendingBatch {
    Batch batch;
    int64_t first = 0;  // position of its first sample in the epoch's order
    std::vector<char> is_missing;
    std::vector<std::exception_ptr> errors;
    int64_t taken = 0;     // samples given to threads
    int64_t finished = 0;  // samples done
  };
  struct Task {
    std::shared_ptr<PendingBatch> batch;
    int64_t begin, end;
  };

  void stop();
  void work(int number);
  void open_batches();
  std::optional<Task> take_task();
  void load_sample(PendingBatch& pending, int64_t i);
  std::optional<Sample> read_sample(int64_t index);
  Sample read_stand_in(int64_t index);
  Batch empty_batch(int64_t size, int64_t step) const;
  Batch without_missing(const PendingBatch& pending) const;

  BatchSource& source_;
  const std::shared_ptr<const Dataset> dataset_;
  const DataLoaderOptions options_;
  const int64_t epoch_;
  std::vector<int64_t> order_;

  std::mutex mutex_;
  std::condition_variable batch_finished_;
  std::condition_variable batches_opened_;
  std::deque<std::shared_ptr<PendingBatch>> window_;  // batches that next() has not returned, in order
  int64_t next_step_;                                 // of the next batch to open
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace taper
