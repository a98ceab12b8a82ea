#include "taper/nn/data/loader.h"

#include <cmath>
#include <numeric>

#include "taper/core/base/error.h"
#include "taper/nn/data/batch_reader.h"
#include "taper/nn/data/device_prefetch.h"
#include "taper/nn/data/finish_batch.h"

namespace taper {

std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch) {
  TAPER_CHECK(size >= 0 && size < int64_t(1) << 32, "shuffled_order: size must be below 2^32, got {}", size);
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random(seed, RandomPurpose::kShuffle, uint64_t(epoch), 0);
  for (int64_t i = size - 1; i > 0; --i) std::swap(order[size_t(i)], order[random.below(uint32_t(i + 1))]);
  return order;
}

/// Checks the options and completes them.
static void check_mix(MixOptions& mix, int64_t classes) {
  for (const double alpha : {mix.mixup, mix.cutmix})
    TAPER_CHECK(alpha >= 0 && std::isfinite(alpha),
                "DataLoader: alpha of mixup and CutMix must not be negative, got {}", alpha);
  if (mix.classes == 0) mix.classes = classes;
  TAPER_CHECK(mix.classes >= classes, "DataLoader: images are mixed for {} classes, but the data set has {}",
              mix.classes, classes);
}

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, ImageTransform transform,
                       DataLoaderOptions options)
    : source_(std::make_unique<BatchSource>()) {
  TAPER_CHECK(dataset != nullptr, "DataLoader: there is no data set");
  TAPER_CHECK(options.batch_size > 0, "DataLoader: batch size must be positive, got {}", options.batch_size);
  TAPER_CHECK(options.shard.size >= 1 && options.shard.rank >= 0 && options.shard.rank < options.shard.size,
              "DataLoader: there is no rank {} among {}", options.shard.rank, options.shard.size);
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
  check_mix(source_->options.mix, source_->dataset->num_classes());
  TAPER_CHECK(transform.erase >= 0 && transform.erase <= 1,
              "DataLoader: the probability of random erasing must be 0 to 1, got {}", transform.erase);
  TAPER_CHECK(batches_per_epoch() > 0, "DataLoader: {} samples do not fill a batch of {}{}",
              source_->dataset->size(), options.batch_size, options.drop_last ? " (drop_last)" : "");
  if (options.broken == BrokenImages::kReplace)
    source_->samples_by_class = samples_by_class(*source_->dataset);
  allocator_for(options.device);  // rejects a device that does not exist
  finish_ = std::make_unique<BatchFinisher>(source_->options);
  if (options.device.is_cuda()) prefetch_ = std::make_unique<DevicePrefetch>(options.device, *finish_);
}

DataLoader::~DataLoader() = default;

const Dataset& DataLoader::dataset() const {
  return *source_->dataset;
}

const DataLoaderOptions& DataLoader::options() const {
  return source_->options;
}

Image DataLoader::picture(int64_t index) const {
  RandomStream random(options().seed, RandomPurpose::kAugment, 0, uint64_t(index));
  return source_->transform.apply(dataset().get(index).image, random);
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
  if (batch) (*finish_)(*batch);
  return batch;
}

std::vector<std::string> DataLoader::broken_images() const {
  return source_->unreadable.messages();
}

std::string DataLoader::broken_image(int64_t index) const {
  return source_->unreadable.contains(index) ? source_->unreadable.message(index) : "";
}

}  // namespace taper
