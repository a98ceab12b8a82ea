#include "taper/nn/data/loader.h"

#include <numeric>

#include "taper/core/base/error.h"
#include "taper/nn/data/batch_reader.h"
#include "taper/nn/data/device_prefetch.h"
#include "taper/ops/image/normalize_images.h"

namespace taper {

std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch) {
  TAPER_CHECK(size >= 0 && size < int64_t(1) << 32, "shuffled_order: size must be below 2^32, got {}", size);
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random(seed, RandomPurpose::kShuffle, uint64_t(epoch), 0);
  for (int64_t i = size - 1; i > 0; --i) std::swap(order[size_t(i)], order[random.below(uint32_t(i + 1))]);
  return order;
}

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, ImageTransform transform,
                       DataLoaderOptions options)
    : source_(std::make_unique<BatchSource>()) {
  TAPER_CHECK(dataset != nullptr, "DataLoader: there is no data set");
  TAPER_CHECK(options.batch_size > 0, "DataLoader: batch size must be positive, got {}", options.batch_size);
  TAPER_CHECK(options.workers >= 0 && options.workers <= 1024,
              "DataLoader: workers must be 0 to 1024, got {}", options.workers);
  TAPER_CHECK(options.prefetch > 0, "DataLoader: prefetch must be positive, got {}", options.prefetch);
  TAPER_CHECK(transform.image_size > 0, "DataLoader: image size must be positive, got {}",
              transform.image_size);
  TAPER_CHECK(is_floating_point(options.dtype),
              "DataLoader: the images' dtype must be floating point, got {}", options.dtype);
  source_->dataset = std::move(dataset);
  source_->transform = transform;
  source_->options = options;
  TAPER_CHECK(batches_per_epoch() > 0, "DataLoader: {} samples do not fill a batch of {}{}",
              source_->dataset->size(), options.batch_size, options.drop_last ? " (drop_last)" : "");
  if (options.broken == BrokenImages::kReplace)
    source_->samples_by_class = samples_by_class(*source_->dataset);
  allocator_for(options.device);  // rejects a device that does not exist
  if (options.device.is_cuda()) prefetch_ = std::make_unique<DevicePrefetch>(options.device, options.dtype);
}

DataLoader::~DataLoader() = default;

const Dataset& DataLoader::dataset() const {
  return *source_->dataset;
}

const DataLoaderOptions& DataLoader::options() const {
  return source_->options;
}

int64_t DataLoader::batches_per_epoch() const {
  return source_->batches_per_epoch();
}

void DataLoader::start(int64_t epoch, int64_t step) {
  TAPER_CHECK(epoch >= 0 && epoch < 1 << 20, "DataLoader: epoch must be 0 to 2^20 - 1, got {}", epoch);
  TAPER_CHECK(step >= 0 && step <= batches_per_epoch(),
              "DataLoader: step {} is not in an epoch of {} batches", step, batches_per_epoch());
  if (prefetch_) prefetch_->clear();
  reader_.reset();
  reader_ = std::make_unique<BatchReader>(*source_, epoch, step);
}

std::optional<Batch> DataLoader::next() {
  if (!reader_) return std::nullopt;
  if (prefetch_) return prefetch_->next(*reader_);
  std::optional<Batch> batch = reader_->next();
  if (batch) batch->images = ops::normalize_images(batch->images, {.dtype = options().dtype});
  return batch;
}

std::vector<std::string> DataLoader::broken_images() const {
  return source_->unreadable.messages();
}

}  // namespace taper
