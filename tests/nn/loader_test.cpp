// DataLoader: order, workers, restarts, unreadable images, and errors.

#include "taper/nn/data/loader.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <new>
#include <set>

#include "images.h"
#include "taper/core/base/error.h"
#include "taper/nn/data/image_folder.h"

using namespace taper;
using Catch::Contains;

namespace {

// Numbered images: every pixel of sample i has the colour i. Some can be made unreadable.
class NumberedDataset : public Dataset {
 public:
  explicit NumberedDataset(int64_t size, std::set<int64_t> broken = {})
      : size_(size), broken_(std::move(broken)), class_names_(size_t(size), "class of one") {}
  int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  Sample get(int64_t index) const override {
    ++reads;
    if (broken_.contains(index)) fail<FileError>("image {:03}: broken", index);
    if (index == throws_at) throw std::logic_error("a bug");
    Sample sample{Image(8, 8), index};
    std::fill(sample.image.pixels.begin(), sample.image.pixels.end(), uint8_t(index));
    return sample;
  }
  int64_t label(int64_t index) const override { return index; }

  mutable std::atomic<int> reads = 0;
  int64_t throws_at = -1;

 private:
  int64_t size_;
  std::set<int64_t> broken_;
  std::vector<std::string> class_names_;
};

std::vector<int64_t> labels_of(const Batch& batch) {
  const int64_t* first = batch.labels.data<int64_t>();
  return {first, first + batch.size()};
}

// Returns the labels of all batches, one vector per batch.
std::vector<std::vector<int64_t>> drain(DataLoader& loader) {
  std::vector<std::vector<int64_t>> result;
  while (const auto batch = loader.next()) result.push_back(labels_of(*batch));
  return result;
}

std::vector<float> pixels_of(const Batch& batch) {
  const float* first = batch.images.data<float>();
  return {first, first + batch.images.numel()};
}

}  // namespace

TEST_CASE("batches come in order, channels_last, normalised, the last one short") {
  for (const int workers : {0, 1, 3}) {
    CAPTURE(workers);
    DataLoader loader(std::make_shared<NumberedDataset>(23), evaluation_transform(8, 8),
                      {.batch_size = 10, .workers = workers});
    CHECK(loader.batches_per_epoch() == 3);
    CHECK_FALSE(loader.next().has_value());
    loader.start(0);
    for (int64_t step = 0; step < 3; ++step) {
      const auto batch = loader.next();
      REQUIRE(batch.has_value());
      CHECK(batch->step == step);
      CHECK(batch->size() == (step == 2 ? 3 : 10));
      CHECK(batch->images.shape() == Shape{batch->size(), 3, 8, 8});
      CHECK(batch->images.dtype() == kFloat32);
      CHECK(batch->images.is_contiguous(kChannelsLast));
      CHECK(batch->labels.dtype() == kInt64);
      const float* pixel = batch->images.data<float>();
      for (const int64_t label : labels_of(*batch)) {
        for (int64_t i = 0; i < 8 * 8; ++i) {
          CHECK(pixel[0] == (float(label) / 255.0f - 0.485f) / 0.229f);
          CHECK(pixel[1] == (float(label) / 255.0f - 0.456f) / 0.224f);
          CHECK(pixel[2] == (float(label) / 255.0f - 0.406f) / 0.225f);
          pixel += 3;
        }
      }
      CHECK(labels_of(*batch).front() == 10 * step);
    }
    CHECK_FALSE(loader.next().has_value());
    CHECK_FALSE(loader.next().has_value());
  }
}

TEST_CASE("a shuffled epoch visits each sample once, in an order of its own") {
  CHECK(shuffled_order(0, 1, 2).empty());
  CHECK(shuffled_order(1, 1, 2) == std::vector<int64_t>{0});
  auto order = shuffled_order(1000, 1, 2);
  CHECK(order == shuffled_order(1000, 1, 2));
  CHECK(order != shuffled_order(1000, 1, 3));
  CHECK(order != shuffled_order(1000, 2, 2));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) CHECK(order[size_t(i)] == i);

  // The six orders of three have equal probability (within five standard deviations).
  std::map<std::vector<int64_t>, int> count;
  for (int64_t epoch = 0; epoch < 6000; ++epoch) ++count[shuffled_order(3, 0, epoch)];
  CHECK(count.size() == 6);
  for (const auto& [permutation, n] : count) CHECK(std::abs(n - 1000) < 5 * std::sqrt(6000 * 5.0 / 36));

  DataLoader loader(std::make_shared<NumberedDataset>(50), evaluation_transform(8, 8),
                    {.batch_size = 50, .shuffle = true, .workers = 2, .seed = 1});
  loader.start(2);
  CHECK(labels_of(*loader.next()) == shuffled_order(50, 1, 2));
}

TEST_CASE("ranks share each batch: together the same images in the same order, whatever their number") {
  const auto dataset = std::make_shared<NumberedDataset>(23);
  const DataLoaderOptions options = {.batch_size = 10, .shuffle = true, .workers = 2, .seed = 4};
  DataLoader whole(dataset, training_transform(8), options);
  for (const int ranks : {2, 3, 4, 10}) {
    CAPTURE(ranks);
    std::vector<std::vector<int64_t>> labels(3);
    std::vector<std::vector<float>> pixels(3);
    for (int rank = 0; rank < ranks; ++rank) {
      DataLoaderOptions own = options;
      own.shard = {rank, ranks};
      DataLoader loader(dataset, training_transform(8), own);
      CHECK(loader.batches_per_epoch() == 3);
      loader.start(1);
      while (const auto batch = loader.next()) {
        for (const int64_t label : labels_of(*batch)) labels[size_t(batch->step)].push_back(label);
        for (const float pixel : pixels_of(*batch)) pixels[size_t(batch->step)].push_back(pixel);
      }
    }
    whole.start(1);
    while (const auto batch = whole.next()) {
      CHECK(labels[size_t(batch->step)] == labels_of(*batch));
      CHECK(pixels[size_t(batch->step)] == pixels_of(*batch));
    }
  }
  CHECK_THROWS_WITH(DataLoader(dataset, training_transform(8), {.shard = {2, 2}}),
                    Catch::Contains("there is no rank 2 among 2"));
}

TEST_CASE("drop_last leaves the short batch out") {
  DataLoader loader(std::make_shared<NumberedDataset>(23), evaluation_transform(8, 8),
                    {.batch_size = 10, .drop_last = true, .workers = 2});
  loader.start(0);
  CHECK(drain(loader).size() == 2);
  CHECK(loader.batches_per_epoch() == 2);
}

TEST_CASE("a batch knows the numbers of its images, and a loader shows the picture of each") {
  const auto dataset = std::make_shared<NumberedDataset>(23);
  for (const int workers : {0, 2}) {
    DataLoader loader(dataset, evaluation_transform(8, 8),
                      {.batch_size = 5, .shuffle = true, .workers = workers, .seed = 4});
    loader.start(1);
    std::vector<int64_t> seen;
    while (const auto batch = loader.next()) {
      CHECK(batch->indices == labels_of(*batch));  // a numbered image has its number for a label
      seen.insert(seen.end(), batch->indices.begin(), batch->indices.end());
    }
    CHECK(seen == shuffled_order(23, 4, 1));
    CHECK(loader.picture(7) == resize_and_center_crop(dataset->get(7).image, 8, 8));
  }
}

TEST_CASE("batches are the same bits for any number of workers, and again after a restart") {
  const TemporaryFolder folder;
  for (int i = 0; i < 30; ++i) {
    const Image image = test_image(20 + 3 * i, 90 - i, i);
    const std::string name = "class" + std::to_string(i % 3) + "/" + std::to_string(i);
    write_file(folder / (name + (i % 2 ? ".jpg" : ".png")), i % 2 ? jpeg_bytes(image) : png_bytes(image));
  }
  const auto dataset = std::make_shared<ImageFolderDataset>(folder.path());
  for (const int size : {32, 80}) {  // shifts, resized crops
    std::vector<std::vector<float>> want;
    std::vector<std::vector<int64_t>> want_labels;
    for (const int workers : {0, 1, 2, 5}) {
      CAPTURE(size, workers);
      DataLoader loader(dataset, training_transform(size),
                        {.batch_size = 7, .shuffle = true, .workers = workers, .prefetch = 2, .seed = 5});
      for (const int64_t first : {0, 3}) {
        loader.start(1, first);
        for (int64_t step = first; step < loader.batches_per_epoch(); ++step) {
          const auto batch = loader.next();
          REQUIRE(batch.has_value());
          CHECK(batch->step == step);
          if (workers == 0 && first == 0) {
            want.push_back(pixels_of(*batch));
            want_labels.push_back(labels_of(*batch));
          }
          CHECK((pixels_of(*batch) == want[size_t(step)]));
          CHECK(labels_of(*batch) == want_labels[size_t(step)]);
        }
        CHECK_FALSE(loader.next().has_value());
      }
      // Another epoch has another order and other crops.
      loader.start(2);
      CHECK_FALSE((pixels_of(*loader.next()) == want[0]));
    }
  }
}

TEST_CASE("unreadable images are refused or skipped") {
  const std::set<int64_t> broken = {1, 4, 5, 6, 7, 11};
  for (const int workers : {0, 3}) {
    CAPTURE(workers);
    const auto load = [&](BrokenImages policy, int64_t size = 12) {
      auto dataset = std::make_shared<NumberedDataset>(size, broken);
      auto loader = std::make_unique<DataLoader>(
          dataset, evaluation_transform(8, 8),
          DataLoaderOptions{.batch_size = 4, .workers = workers, .broken = policy});
      loader->start(0);
      return loader;
    };

    const auto skip = load(BrokenImages::kSkip);
    CHECK(drain(*skip) ==
          std::vector<std::vector<int64_t>>{{0, 2, 3}, {8, 9, 10}});  // the second batch is gone
    const std::vector<std::string> list = {"image 001: broken", "image 004: broken", "image 005: broken",
                                           "image 006: broken", "image 007: broken", "image 011: broken"};
    CHECK(skip->broken_images() == list);
    CHECK(skip->broken_image(4) == "image 004: broken");
    CHECK(skip->broken_image(0).empty());
    skip->start(1);
    drain(*skip);
    CHECK(skip->broken_images() == list);  // each once
    skip->start(2);
    const auto batch = skip->next();
    REQUIRE(batch.has_value());
    CHECK(batch->images.shape() == Shape{3, 3, 8, 8});
    CHECK(batch->indices == std::vector<int64_t>{0, 2, 3});
    CHECK(pixels_of(*batch)[8 * 8 * 3] == (2.0f / 255.0f - 0.485f) / 0.229f);

    const auto refuse = load(BrokenImages::kRefuse);
    CHECK_THROWS_WITH(refuse->next(), "image 001: broken");
    CHECK_THROWS_WITH(refuse->next(), "image 004: broken");  // the first of its batch
    CHECK_THROWS_AS(refuse->next(), FileError);
    CHECK_FALSE(refuse->next().has_value());
    CHECK(refuse->broken_images().empty());
  }
}

namespace {

// Samples 0, 2, 4, ... belong to class 0, the others to class 1. Every pixel of an image is its number.
class TwoClasses : public Dataset {
 public:
  TwoClasses(int64_t size, std::set<int64_t> broken) : size_(size), broken_(std::move(broken)) {}
  int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int64_t label(int64_t index) const override { return index % 2; }
  Sample get(int64_t index) const override {
    if (index == lacks_memory_at) throw std::bad_alloc();
    if (index == lacks_files_at) fail("image {}: too many open files", index);
    if (broken_.contains(index)) fail<FileError>("image {:03}: broken", index);
    Sample sample{Image(8, 8), label(index)};
    std::fill(sample.image.pixels.begin(), sample.image.pixels.end(), uint8_t(index));
    return sample;
  }
  std::string describe(int64_t index) const override { return fmt::format("image {:03}", index); }

  int64_t lacks_memory_at = -1, lacks_files_at = -1;

 private:
  int64_t size_;
  std::set<int64_t> broken_;
  std::vector<std::string> class_names_ = {"even", "odd\x1b"};
};

// Returns the numbers of the images of an epoch, in order.
std::vector<int> images_of(DataLoader& loader, int64_t epoch) {
  std::vector<int> images;
  loader.start(epoch);
  while (const auto batch = loader.next()) {
    for (int64_t i = 0; i < batch->size(); ++i) {
      const float red = batch->images.data<float>()[i * 8 * 8 * 3];
      images.push_back(int(std::lround((red * 0.229f + 0.485f) * 255)));
      CHECK(images.back() % 2 == labels_of(*batch)[size_t(i)]);
    }
  }
  return images;
}

std::unique_ptr<DataLoader> loader_with_stand_ins(std::shared_ptr<const Dataset> dataset, int workers = 2) {
  return std::make_unique<DataLoader>(
      std::move(dataset), evaluation_transform(8, 8),
      DataLoaderOptions{.batch_size = 9, .workers = workers, .broken = BrokenImages::kReplace, .seed = 4});
}

}  // namespace

TEST_CASE("an unreadable image is replaced by one of its class, any as likely, not by its neighbour") {
  // The first half of both classes is broken, as if each image had a broken twin that sorts before it.
  std::set<int64_t> broken;
  for (int64_t i = 0; i < 100; ++i) broken.insert(i);
  const auto dataset = std::make_shared<TwoClasses>(200, broken);
  const auto plain = loader_with_stand_ins(dataset, 0);
  std::map<int, int> uses;
  std::vector<std::vector<int>> epochs;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const auto images = images_of(*plain, epoch);
    REQUIRE(images.size() == 200);
    for (int i = 0; i < 200; ++i) {
      CHECK(images[size_t(i)] >= 100);
      CHECK(images[size_t(i)] % 2 == i % 2);
      if (i >= 100) CHECK(images[size_t(i)] == i);
      ++uses[images[size_t(i)]];
    }
    epochs.push_back(images);
  }
  CHECK(epochs[0] != epochs[1]);
  for (int i = 100; i < 200; ++i)
    CHECK(std::abs(uses[i] - 40) < 5 * std::sqrt(20.0));  // 20 of its own, 20 drawn
  CHECK(plain->broken_images().size() == 100);

  // Independent of the number of readers and of earlier reads.
  for (const int workers : {0, 1, 4}) {
    const auto loader = loader_with_stand_ins(dataset, workers);
    for (const size_t epoch : {size_t(3), size_t(0)})
      CHECK(images_of(*loader, int64_t(epoch)) == epochs[epoch]);
  }
}

TEST_CASE("a class without a readable image ends the epoch with its name") {
  std::set<int64_t> broken;
  for (int64_t i = 1; i < 40; i += 2) broken.insert(i);
  const auto loader = loader_with_stand_ins(std::make_shared<TwoClasses>(40, broken));
  loader->start(0);
  CHECK_THROWS_WITH(loader->next(),
                    "class 'odd\\x1b': none of its 20 images can be read; one of them: "
                    "image 001: broken");
  // One readable image is enough.
  broken.erase(37);
  const auto other = loader_with_stand_ins(std::make_shared<TwoClasses>(40, broken));
  const auto images = images_of(*other, 0);
  CHECK(std::ranges::count(images, 37) == 20);
}

TEST_CASE("a lack of memory or files is no broken image: it ends the epoch with the image's name") {
  for (const int workers : {0, 2}) {
    auto dataset = std::make_shared<TwoClasses>(40, std::set<int64_t>());
    dataset->lacks_memory_at = 3;
    auto loader = loader_with_stand_ins(dataset, workers);
    loader->start(0);
    CHECK_THROWS_AS(loader->next(), OutOfMemoryError);
    loader->start(0);
    CHECK_THROWS_WITH(loader->next(), "image 003: not enough memory to prepare it");

    dataset = std::make_shared<TwoClasses>(40, std::set<int64_t>());
    dataset->lacks_files_at = 5;
    loader = loader_with_stand_ins(dataset, workers);
    loader->start(0);
    CHECK_THROWS_WITH(loader->next(), "image 5: too many open files");
  }
}

TEST_CASE("an exception in a worker reaches the caller as it was") {
  const auto dataset = std::make_shared<NumberedDataset>(40);
  dataset->throws_at = 25;
  DataLoader loader(dataset, evaluation_transform(8, 8),
                    {.batch_size = 10, .workers = 2, .broken = BrokenImages::kSkip});
  loader.start(0);
  CHECK(loader.next()->size() == 10);
  CHECK(loader.next()->size() == 10);
  CHECK_THROWS_AS(loader.next(), std::logic_error);
  CHECK(loader.next()->step == 3);
}

TEST_CASE("an epoch can be abandoned at any point, and workers stay within the window") {
  const auto dataset = std::make_shared<NumberedDataset>(1000);
  for (int batches = 0; batches < 6; ++batches) {
    DataLoader loader(dataset, evaluation_transform(8, 8), {.batch_size = 5, .workers = 4, .prefetch = 2});
    loader.start(0);
    dataset->reads = 0;
    for (int i = 0; i < batches; ++i) REQUIRE(loader.next().has_value());
    loader.start(1, 100);
    CHECK(labels_of(*loader.next()) == std::vector<int64_t>{500, 501, 502, 503, 504});
    CHECK(dataset->reads <= 5 * (batches + 2) + 5 * 3);
  }
}

TEST_CASE("the loader refuses options it cannot serve") {
  const auto dataset = std::make_shared<NumberedDataset>(10);
  const ImageTransform transform = evaluation_transform(8, 8);
  CHECK_THROWS_WITH(DataLoader(nullptr, transform), Contains("no data set"));
  CHECK_THROWS_WITH(DataLoader(dataset, transform, {.batch_size = 0}),
                    Contains("batch size must be positive"));
  CHECK_THROWS_WITH(DataLoader(dataset, transform, {.workers = -1}), Contains("workers must be 0 to 1024"));
  CHECK_THROWS_WITH(DataLoader(dataset, transform, {.prefetch = 0}), Contains("prefetch must be positive"));
  CHECK_THROWS_WITH(DataLoader(dataset, transform, {.dtype = kInt64}), Contains("floating point, got i64"));
  CHECK_THROWS_WITH(DataLoader(dataset, {.image_size = 0}), Contains("image size must be positive"));
  CHECK_THROWS_WITH(DataLoader(dataset, transform, {.batch_size = 11, .drop_last = true}),
                    Contains("10 samples do not fill a batch of 11"));
  DataLoader loader(dataset, transform, {.batch_size = 5});
  CHECK_THROWS_WITH(loader.start(-1), Contains("epoch must be 0 to 2^20 - 1"));
  CHECK_THROWS_WITH(loader.start(0, 3), Contains("step 3 is not in an epoch of 2 batches"));
  CHECK_NOTHROW(loader.start(0, 2));
  CHECK_FALSE(loader.next().has_value());
}
