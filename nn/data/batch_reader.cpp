#include "taper/nn/data/batch_reader.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/core/base/profile_events.h"

namespace taper {
namespace {

// Samples per task: few enough to spread a batch over all workers, enough to take the lock rarely.
constexpr int64_t kSamplesPerTask = 4;
constexpr int64_t kEdges = 4;  // numbers for an erased rectangle: see Batch::erased

}  // namespace

void UnreadableImages::add(int64_t index, const std::string& message) {
  const std::lock_guard lock(mutex_);
  messages_.emplace(index, message);
}

bool UnreadableImages::contains(int64_t index) const {
  const std::lock_guard lock(mutex_);
  return messages_.contains(index);
}

std::string UnreadableImages::message(int64_t index) const {
  const std::lock_guard lock(mutex_);
  return messages_.at(index);
}

std::vector<std::string> UnreadableImages::messages() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> result;
  for (const auto& [index, message] : messages_) result.push_back(message);
  std::ranges::sort(result);
  return result;
}

int64_t BatchSource::batches_per_epoch() const {
  const int64_t partial = options.drop_last ? 0 : options.batch_size - 1;
  return (dataset->size() + partial) / options.batch_size;
}

BatchReader::BatchReader(BatchSource& source, int64_t epoch, int64_t step)
    : source_(source), dataset_(source.dataset), options_(source.options), epoch_(epoch), next_step_(step) {
  if (options_.shuffle) order_ = shuffled_order(dataset_->size(), options_.seed, epoch);
  open_batches();
  try {
    for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this, i] { work(i + 1); });
  } catch (const std::system_error& error) {
    stop();
    fail("DataLoader: cannot start {} workers: {}", options_.workers, error.what());
  }
}

BatchReader::~BatchReader() {
  stop();
}

void BatchReader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  batches_opened_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Batch BatchReader::empty_batch(int64_t size, int64_t step) const {
  const int64_t side = source_.transform.image_size;
  const bool pinned = options_.device.is_cuda();
  Batch batch{.images = empty({size, side, side, 3}, {.dtype = kUInt8, .pinned_memory = pinned}),
              .labels = empty({size}, {.dtype = kInt64, .pinned_memory = pinned}),
              .step = step,
              .epoch = epoch_,
              .indices = std::vector<int64_t>(size_t(size))};
  if (source_.transform.erase > 0)
    batch.erased = empty({size, kEdges}, {.dtype = kInt64, .pinned_memory = pinned});
  return batch;
}

// Fills the window with empty batches. Only next()'s thread allocates, so a lack of memory is an error there.
void BatchReader::open_batches() {
  const OpScope scope("open batches", SpanKind::kData);
  const size_t ahead = options_.workers == 0 ? 1 : size_t(options_.prefetch);
  while (window_.size() < ahead && next_step_ < source_.batches_per_epoch()) {
    auto pending = std::make_shared<PendingBatch>();
    const int64_t whole_first = next_step_ * options_.batch_size;
    const int64_t whole = std::min(options_.batch_size, dataset_->size() - whole_first);
    const auto [rank, ranks] = options_.shard;
    const int64_t begin = whole * rank / ranks, size = whole * (rank + 1) / ranks - begin;
    pending->first = whole_first + begin;
    pending->batch = empty_batch(size, next_step_);
    pending->is_missing.resize(size_t(size));
    pending->errors.resize(size_t(size));
    window_.push_back(std::move(pending));
    ++next_step_;
  }
}

void BatchReader::work(int number) {
  set_thread_name(fmt::format("data loader {}", number));
  while (const auto task = take_task()) {
    PendingBatch& pending = *task->batch;
    for (int64_t i = task->begin; i < task->end; ++i) load_sample(pending, i);
    const std::lock_guard lock(mutex_);
    pending.finished += task->end - task->begin;
    if (pending.finished == pending.batch.size()) batch_finished_.notify_one();
  }
}

// Waits for samples to read. Returns nothing at the end of the epoch.
std::optional<BatchReader::Task> BatchReader::take_task() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopping_) return std::nullopt;
    for (const auto& pending : window_) {
      const int64_t begin = pending->taken;
      if (begin == pending->batch.size()) continue;
      pending->taken = std::min(begin + kSamplesPerTask, pending->batch.size());
      return Task{pending, begin, pending->taken};
    }
    batches_opened_.wait(lock);
  }
}

// Reads, transforms and writes sample `i` of the batch. Keeps an error for next().
void BatchReader::load_sample(PendingBatch& pending, int64_t i) {
  const OpScope scope("load sample", SpanKind::kData);
  const int64_t position = pending.first + i;
  const int64_t index = order_.empty() ? position : order_[size_t(position)];
  pending.batch.indices[size_t(i)] = index;
  try {
    const std::optional<Sample> sample = read_sample(index);
    if (!sample) {
      pending.is_missing[size_t(i)] = 1;
      return;
    }
    RandomStream random(options_.seed, RandomPurpose::kAugment, uint64_t(epoch_), uint64_t(index));
    const Image image = source_.transform.apply(sample->image, random);
    const size_t row = image.pixels.size();
    std::memcpy(pending.batch.images.data<uint8_t>() + size_t(i) * row, image.pixels.data(), row);
    pending.batch.labels.data<int64_t>()[i] = sample->label;
    if (!pending.batch.erased.defined()) return;
    const Box box = random_erasing_box(image.width, image.height, source_.transform.erase, random);
    const int64_t edges[kEdges] = {box.top, box.left, box.top + box.height, box.left + box.width};
    std::copy(edges, edges + kEdges, pending.batch.erased.data<int64_t>() + i * kEdges);
  } catch (const std::bad_alloc&) {
    pending.errors[size_t(i)] = std::make_exception_ptr(
        OutOfMemoryError(fmt::format("{}: not enough memory to prepare it", dataset_->describe(index))));
  } catch (...) {
    pending.errors[size_t(i)] = std::current_exception();
  }
}

// Returns sample `index`. If it cannot be read, follows the option `broken`.
std::optional<Sample> BatchReader::read_sample(int64_t index) {
  try {
    return dataset_->get(index);
  } catch (const FileError& error) {
    if (options_.broken == BrokenImages::kRefuse) throw;
    source_.unreadable.add(index, error.what());
  }
  if (options_.broken == BrokenImages::kSkip) return std::nullopt;
  return read_stand_in(index);
}

// Returns a readable sample of the class of `index`, each with equal probability: tries the class's samples
// in an order drawn for `index`. Samples that other threads found unreadable would fail here too, so the
// outcome does not depend on whether they are tried again.
Sample BatchReader::read_stand_in(int64_t index) {
  const auto& samples = source_.samples_by_class[size_t(dataset_->label(index))];
  std::vector<int64_t> candidates = samples;
  RandomStream random(options_.seed, RandomPurpose::kStandIn, uint64_t(epoch_), uint64_t(index));
  while (!candidates.empty()) {
    std::swap(candidates[random.below(uint32_t(candidates.size()))], candidates.back());
    const int64_t candidate = candidates.back();
    candidates.pop_back();
    if (source_.unreadable.contains(candidate)) continue;
    try {
      return dataset_->get(candidate);
    } catch (const FileError& error) {
      source_.unreadable.add(candidate, error.what());
    }
  }
  fail<FileError>("class {}: none of its {} images can be read; one of them: {}",
                  quote_name(dataset_->class_names()[size_t(dataset_->label(index))]), samples.size(),
                  source_.unreadable.message(index));
}

std::optional<Batch> BatchReader::next() {
  const OpScope scope("next batch", SpanKind::kData);
  for (;;) {
    std::shared_ptr<PendingBatch> pending;
    {
      std::unique_lock lock(mutex_);
      if (window_.empty()) return std::nullopt;
      pending = window_.front();
      if (threads_.empty())
        for (int64_t i = 0; i < pending->batch.size(); ++i) load_sample(*pending, i);
      else
        batch_finished_.wait(lock, [&] { return pending->finished == pending->batch.size(); });
      window_.pop_front();
      open_batches();
    }
    batches_opened_.notify_all();

    // Moved out of the batch, which a worker may be the last to release, so that an exception is destroyed in
    // the thread that catches it.
    const std::vector<std::exception_ptr> errors = std::move(pending->errors);
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
    Batch result = without_missing(*pending);
    if (result.size() > 0) return result;
  }
}

// Returns the batch without its missing samples: the rows after a missing one move up.
Batch BatchReader::without_missing(const PendingBatch& pending) const {
  const Batch& all = pending.batch;
  const int64_t missing = std::ranges::count(pending.is_missing, 1);
  if (missing == 0) return all;
  Batch result = empty_batch(all.size() - missing, all.step);
  const auto row = size_t(all.images.numel() / all.size());
  for (int64_t from = 0, to = 0; from < all.size(); ++from) {
    if (pending.is_missing[size_t(from)]) continue;
    std::memcpy(result.images.data<uint8_t>() + size_t(to) * row,
                all.images.data<uint8_t>() + size_t(from) * row, row);
    result.labels.data<int64_t>()[to] = all.labels.data<int64_t>()[from];
    if (all.erased.defined())
      std::copy_n(all.erased.data<int64_t>() + from * kEdges, kEdges,
                  result.erased.data<int64_t>() + to * kEdges);
    result.indices[size_t(to)] = all.indices[size_t(from)];
    ++to;
  }
  return result;
}

}  // namespace taper
