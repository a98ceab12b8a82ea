// Batches that are copied to the device ahead of time equal the loader's own, in order, with its errors.

#include "taper/nn/data/loader.h"

#include <catch2/catch.hpp>

#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/ops/copy/copy.h"
#include "test_tensors.h"

using namespace taper;

namespace {

DataLoaderOptions options(Device device) {
  return {.batch_size = 9, .shuffle = true, .workers = 2, .device = device, .seed = 3};
}

// The first 40 digits. Number 17 fails once, as with a reader's bug.
class FewDigits : public Dataset {
 public:
  int64_t size() const override { return 40; }
  const std::vector<std::string>& class_names() const override { return digits_.class_names(); }
  Sample get(int64_t index) const override {
    if (index == throws_at) throw std::logic_error("a bug");
    return digits_.get(index);
  }
  int64_t label(int64_t index) const override { return digits_.label(index); }
  int64_t throws_at = -1;

 private:
  DigitsDataset digits_{DigitsDataset::Split::kTest};
};

}  // namespace

TEST_CASE("batches on every device are those of the CPU, to the bit") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat64);
  const auto data = std::make_shared<FewDigits>();
  DataLoader plain(data, evaluation_transform(32, 32), options(Device("cpu")));
  DataLoaderOptions there = options(device);
  there.dtype = dtype;
  DataLoader loader(data, evaluation_transform(32, 32), there);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    plain.start(epoch, 1);
    loader.start(epoch, 1);
    while (const auto expected = plain.next()) {
      const auto batch = loader.next();
      REQUIRE(batch.has_value());
      CHECK(batch->step == expected->step);
      CHECK(batch->images.device() == device);
      CHECK(batch->labels.device() == device);
      CHECK(batch->images.dtype() == dtype);
      CHECK(batch->images.is_contiguous(kChannelsLast));
      CHECK(ops::to_vector<float>(batch->images) == ops::to_vector<float>(expected->images));
      CHECK(ops::to_vector<int64_t>(batch->labels) == ops::to_vector<int64_t>(expected->labels));
    }
    CHECK_FALSE(loader.next().has_value());
    CHECK_FALSE(loader.next().has_value());
  }
  loader.start(0);
  CHECK(loader.next()->step == 0);
  loader.start(1, 2);  // abandons the epoch under way and what was prefetched
  CHECK(loader.next()->step == 2);
}

TEST_CASE("an error surfaces in the place of its batch") {
  const Device device = GENERATE(from_range(test_devices()));
  const auto data = std::make_shared<FewDigits>();
  data->throws_at = 17;
  DataLoaderOptions in_order = options(device);
  in_order.shuffle = false;
  DataLoader loader(data, evaluation_transform(32, 32), in_order);
  loader.start(0);
  CHECK(loader.next()->step == 0);
  CHECK_THROWS_WITH(loader.next(), "a bug");
  CHECK(loader.next()->step == 2);
  CHECK(loader.next()->step == 3);
  CHECK(loader.next()->step == 4);
  CHECK_FALSE(loader.next().has_value());
}

TEST_CASE("a loader holds two batches on a GPU and gives them back") {
  if (gpu::device_count() == 0) return;
  const auto data = std::make_shared<FewDigits>();
  gpu::CachingAllocator& allocator = gpu::caching_allocator(0);
  const int64_t before = allocator.stats().allocated_bytes;
  const int64_t batch_bytes = 9 * 3 * 32 * 32 * 4 + 512;
  {
    DataLoader loader(data, evaluation_transform(32, 32), options(Device("cuda")));
    loader.start(0);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(loader.next().has_value());
      gpu::synchronize();
      CHECK(allocator.stats().allocated_bytes - before <= 2 * batch_bytes + 4096);
    }
  }
  gpu::synchronize();
  CHECK(allocator.stats().allocated_bytes == before);
  CHECK_THROWS_WITH(DataLoader(data, evaluation_transform(32, 32), options(Device("cuda:77"))),
                    Catch::Contains("77"));
}
