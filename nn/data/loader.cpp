#include "taper/nn/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <numeric>
#include <system_error>
#include <thread>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/core/base/profile_events.h"

namespace taper {

std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch) {
  TAPER_CHECK(size >= 0 && size < int64_t(1) << 32, "shuffled_order: size must be below 2^32, got {}", size);
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random(seed, RandomPurpose::kShuffle, uint64_t(epoch), 0);
  for (int64_t i = size - 1; i > 0; --i) std::swap(order[size_t(i)], order[random.below(uint32_t(i + 1))]);
  return order;
}

// The pictures that could not be read, each once, from all threads and epochs.
class DataLoader::BrokenList {
 public:
  void add(int64_t index, const std::string& message) {
    const std::lock_guard lock(mutex_);
    messages_.emplace(index, message);
  }
  bool contains(int64_t index) const {
    const std::lock_guard lock(mutex_);
    return messages_.contains(index);
  }
  std::string message(int64_t index) const {
    const std::lock_guard lock(mutex_);
    return messages_.at(index);
  }
  std::vector<std::string> messages() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> result;
    for (const auto& [index, message] : messages_) result.push_back(message);
    std::ranges::sort(result);
    return result;
  }

 private:
  mutable std::mutex mutex_;
  std::map<int64_t, std::string> messages_;
};

namespace {

// Samples a thread takes at a time: few enough to spread a batch over all workers, enough to take the lock
// rarely.
constexpr int64_t kSamplesPerTask = 4;

// A batch in the making. Threads write different samples of it; the counters belong to the epoch's lock.
struct PendingBatch {
  int64_t step = 0;
  int64_t first = 0;  // position of its first sample in the epoch's order
  int64_t size = 0;
  Tensor images, labels;
  std::vector<char> is_missing;
  std::vector<std::exception_ptr> errors;
  int64_t taken = 0;     // samples given to threads
  int64_t finished = 0;  // samples done
};

Batch empty_batch(const Shape& images, DType dtype, bool pinned, int64_t step) {
  const MemoryFormat format = dtype == kUInt8 ? kContiguous : kChannelsLast;
  return {empty(images, {.dtype = dtype, .memory_format = format, .pinned_memory = pinned}),
          empty({images[0]}, {.dtype = kInt64, .pinned_memory = pinned}), step};
}

// The batch without its missing samples, moved up row by row.
Batch compact(const PendingBatch& batch) {
  const int64_t missing = std::ranges::count(batch.is_missing, 1);
  if (missing == 0) return {batch.images, batch.labels, batch.step};
  Shape shape = batch.images.shape();
  shape[0] -= missing;
  Batch result = empty_batch(shape, batch.images.dtype(), batch.images.is_pinned(), batch.step);
  const size_t row = batch.images.size_bytes() / size_t(batch.size);
  const auto* from_images = static_cast<const char*>(batch.images.data_ptr());
  auto* to_images = static_cast<char*>(result.images.data_ptr());
  for (int64_t from = 0, to = 0; from < batch.size; ++from) {
    if (batch.is_missing[size_t(from)]) continue;
    std::memcpy(to_images + size_t(to) * row, from_images + size_t(from) * row, row);
    result.labels.data<int64_t>()[to] = batch.labels.data<int64_t>()[from];
    ++to;
  }
  return result;
}

}  // namespace

// One pass over the data: the order, a window of batches in the making, and the threads that fill it.
class DataLoader::Epoch {
 public:
  Epoch(const DataLoader& loader, int64_t epoch, int64_t step);
  ~Epoch();
  std::optional<Batch> next();

 private:
  struct Task {
    std::shared_ptr<PendingBatch> batch;
    int64_t begin, end;
  };

  void stop();
  void work(int number);
  void open_batches();
  std::optional<Task> take_task();
  void load_sample(PendingBatch& batch, int64_t i);
  std::optional<Sample> read_sample(int64_t index);
  Sample read_stand_in(int64_t index);

  const std::shared_ptr<const Dataset> dataset_;
  const std::vector<std::vector<int64_t>>& samples_by_class_;
  const ImageTransform transform_;
  const DataLoaderOptions options_;
  const int64_t epoch_;
  const int64_t steps_;
  BrokenList& broken_;
  std::vector<int64_t> order_;

  std::mutex mutex_;
  std::condition_variable batch_finished_;
  std::condition_variable batches_opened_;
  std::deque<std::shared_ptr<PendingBatch>> window_;  // batches that next() has not given away, in order
  int64_t next_step_;                                 // of the next batch to open
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

DataLoader::Epoch::Epoch(const DataLoader& loader, int64_t epoch, int64_t step)
    : dataset_(loader.dataset_),
      samples_by_class_(loader.samples_by_class_),
      transform_(loader.transform_),
      options_(loader.options_),
      epoch_(epoch),
      steps_(loader.batches_per_epoch()),
      broken_(*loader.broken_),
      next_step_(step) {
  if (options_.shuffle) order_ = shuffled_order(dataset_->size(), options_.seed, epoch);
  open_batches();
  try {
    for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this, i] { work(i + 1); });
  } catch (const std::system_error& error) {
    stop();
    fail("DataLoader: cannot start {} workers: {}", options_.workers, error.what());
  }
}

DataLoader::Epoch::~Epoch() {
  stop();
}

void DataLoader::Epoch::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  batches_opened_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// Fills the window with empty batches. Only next()'s thread takes memory, so that lack of it is an error
// there.
void DataLoader::Epoch::open_batches() {
  const OpScope scope("open batches", SpanKind::kData);
  const size_t ahead = options_.workers == 0 ? 1 : size_t(options_.prefetch);
  while (window_.size() < ahead && next_step_ < steps_) {
    auto batch = std::make_shared<PendingBatch>();
    batch->step = next_step_;
    batch->first = next_step_ * options_.batch_size;
    batch->size = std::min(options_.batch_size, dataset_->size() - batch->first);
    const int64_t side = transform_.image_size;
    Batch made = options_.raw_pixels
                     ? empty_batch({batch->size, side, side, 3}, kUInt8, options_.pinned_memory, 0)
                     : empty_batch({batch->size, 3, side, side}, kFloat32, options_.pinned_memory, 0);
    batch->images = std::move(made.images);
    batch->labels = std::move(made.labels);
    batch->is_missing.resize(size_t(batch->size));
    batch->errors.resize(size_t(batch->size));
    window_.push_back(std::move(batch));
    ++next_step_;
  }
}

void DataLoader::Epoch::work(int number) {
  set_thread_name(fmt::format("data loader {}", number));
  while (const auto task = take_task()) {
    PendingBatch& batch = *task->batch;
    for (int64_t i = task->begin; i < task->end; ++i) load_sample(batch, i);
    const std::lock_guard lock(mutex_);
    batch.finished += task->end - task->begin;
    if (batch.finished == batch.size) batch_finished_.notify_one();
  }
}

// The next samples to read, as soon as there are any; nothing when the epoch is over.
std::optional<DataLoader::Epoch::Task> DataLoader::Epoch::take_task() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopping_) return std::nullopt;
    for (const auto& batch : window_) {
      const int64_t begin = batch->taken;
      if (begin == batch->size) continue;
      batch->taken = std::min(begin + kSamplesPerTask, batch->size);
      return Task{batch, begin, batch->taken};
    }
    batches_opened_.wait(lock);
  }
}

// Reads, transforms and writes sample `i` of the batch; an error is kept for next().
void DataLoader::Epoch::load_sample(PendingBatch& batch, int64_t i) {
  const OpScope scope("load sample", SpanKind::kData);
  const int64_t position = batch.first + i;
  const int64_t index = order_.empty() ? position : order_[size_t(position)];
  try {
    const std::optional<Sample> sample = read_sample(index);
    if (!sample) {
      batch.is_missing[size_t(i)] = 1;
      return;
    }
    RandomStream random(options_.seed, RandomPurpose::kAugment, uint64_t(epoch_), uint64_t(index));
    const int64_t row = batch.images.numel() / batch.size;
    const Image image = transform_.apply(sample->image, random);
    if (options_.raw_pixels)
      std::memcpy(batch.images.data<uint8_t>() + i * row, image.pixels.data(), size_t(row));
    else
      normalize_pixels(image, batch.images.data<float>() + i * row);
    batch.labels.data<int64_t>()[i] = sample->label;
  } catch (const std::bad_alloc&) {
    batch.errors[size_t(i)] = std::make_exception_ptr(
        OutOfMemoryError(fmt::format("{}: not enough memory to prepare it", dataset_->describe(index))));
  } catch (...) {
    batch.errors[size_t(i)] = std::current_exception();
  }
}

// Sample `index`; where it cannot be read, what the option `broken` says.
std::optional<Sample> DataLoader::Epoch::read_sample(int64_t index) {
  try {
    return dataset_->get(index);
  } catch (const FileError& error) {
    if (options_.broken == BrokenPictures::kRefuse) throw;
    broken_.add(index, error.what());
  }
  if (options_.broken == BrokenPictures::kSkip) return std::nullopt;
  return read_stand_in(index);
}

// A readable sample of the class of `index`, one as likely as another: its samples are tried in an order
// drawn for `index`. Those that other threads have found broken would fail here, too, so the outcome is the
// same whether or not they are tried again.
Sample DataLoader::Epoch::read_stand_in(int64_t index) {
  const int64_t label = dataset_->label(index);
  std::vector<int64_t> candidates = samples_by_class_[size_t(label)];
  RandomStream random(options_.seed, RandomPurpose::kStandIn, uint64_t(epoch_), uint64_t(index));
  while (!candidates.empty()) {
    std::swap(candidates[random.below(uint32_t(candidates.size()))], candidates.back());
    const int64_t candidate = candidates.back();
    candidates.pop_back();
    if (broken_.contains(candidate)) continue;
    try {
      return dataset_->get(candidate);
    } catch (const FileError& error) {
      broken_.add(candidate, error.what());
    }
  }
  fail<FileError>("class {}: none of its {} pictures can be read; one of them: {}",
                  quote_name(dataset_->class_names()[size_t(label)]), samples_by_class_[size_t(label)].size(),
                  broken_.message(index));
}

std::optional<Batch> DataLoader::Epoch::next() {
  const OpScope scope("next batch", SpanKind::kData);
  for (;;) {
    std::shared_ptr<PendingBatch> batch;
    {
      std::unique_lock lock(mutex_);
      if (window_.empty()) return std::nullopt;
      batch = window_.front();
      if (threads_.empty())
        for (int64_t i = 0; i < batch->size; ++i) load_sample(*batch, i);
      else
        batch_finished_.wait(lock, [&] { return batch->finished == batch->size; });
      window_.pop_front();
      open_batches();
    }
    batches_opened_.notify_all();

    // Taken out of the batch, which a worker may be the last to let go: an exception ends in the thread that
    // catches it.
    const std::vector<std::exception_ptr> errors = std::move(batch->errors);
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
    Batch result = compact(*batch);
    if (result.size() > 0) return result;
  }
}

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, ImageTransform transform,
                       DataLoaderOptions options)
    : dataset_(std::move(dataset)),
      transform_(transform),
      options_(options),
      broken_(std::make_unique<BrokenList>()) {
  TAPER_CHECK(dataset_ != nullptr, "DataLoader: there is no data set");
  TAPER_CHECK(options_.batch_size > 0, "DataLoader: batch size must be positive, got {}",
              options_.batch_size);
  TAPER_CHECK(options_.workers >= 0 && options_.workers <= 1024,
              "DataLoader: workers must be 0 to 1024, got {}", options_.workers);
  TAPER_CHECK(options_.prefetch > 0, "DataLoader: prefetch must be positive, got {}", options_.prefetch);
  TAPER_CHECK(transform_.image_size > 0, "DataLoader: image size must be positive, got {}",
              transform_.image_size);
  TAPER_CHECK(batches_per_epoch() > 0, "DataLoader: {} samples do not fill a batch of {}{}", dataset_->size(),
              options_.batch_size, options_.drop_last ? " (drop_last)" : "");
  if (options_.broken == BrokenPictures::kReplace) samples_by_class_ = samples_by_class(*dataset_);
}

DataLoader::~DataLoader() = default;

int64_t DataLoader::batches_per_epoch() const {
  const int64_t partial = options_.drop_last ? 0 : options_.batch_size - 1;
  return (dataset_->size() + partial) / options_.batch_size;
}

void DataLoader::start(int64_t epoch, int64_t step) {
  TAPER_CHECK(epoch >= 0 && epoch < 1 << 20, "DataLoader: epoch must be 0 to 2^20 - 1, got {}", epoch);
  TAPER_CHECK(step >= 0 && step <= batches_per_epoch(),
              "DataLoader: step {} is not in an epoch of {} batches", step, batches_per_epoch());
  epoch_.reset();
  epoch_ = std::make_unique<Epoch>(*this, epoch, step);
}

std::optional<Batch> DataLoader::next() {
  return epoch_ ? epoch_->next() : std::nullopt;
}

std::vector<std::string> DataLoader::broken_pictures() const {
  return broken_->messages();
}

}  // namespace taper
