// mixup and CutMix: shares, pixels and targets; and that a loader's mixed batches depend on seed, epoch and step alone.

#include "taper/nn/data/mix.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/sim.h"
#include "taper/core/views.h"
#include "taper/nn/data/loader.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Contains;

namespace {

RandomStream stream(uint64_t index) {
  return RandomStream(7, RandomPurpose::kMix, 0, index);
}

/// Image i of n has the value i + 1 in all pixels, and label i.
Batch plain_batch(int64_t n, int64_t height, int64_t width, Device device, DType dtype = kFloat32) {
  Batch batch{.images = empty({n, 3, height, width}, {.dtype = dtype, .memory_format = kChannelsLast}),
              .labels = ops::arange(0, n, 1, {.dtype = kInt64})};
  for (int64_t i = 0; i < n; ++i) ops::fill_(views::select(batch.images, 0, i), double(i + 1));
  batch.images = batch.images.to(device);
  batch.labels = batch.labels.to(device);
  return batch;
}

/// Checks that each row of the targets has `share` at its own class and the rest at that of the row before.
void check_targets(const Batch& batch, double share, int64_t classes) {
  const int64_t n = batch.size();
  REQUIRE(batch.probabilities.shape() == Shape{n, classes});
  CHECK(&batch.target() == &batch.probabilities);
  const std::vector<double> target = ops::to_vector<double>(batch.probabilities);
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> expected(size_t(classes), 0);
    expected[size_t(i)] += share;
    expected[size_t((i + n - 1) % n)] += 1 - share;
    double mass = 0;
    for (int64_t c = 0; c < classes; ++c) {
      CHECK(target[size_t(i * classes + c)] == Approx(expected[size_t(c)]).margin(1e-7));
      mass += target[size_t(i * classes + c)];
    }
    CHECK(mass == Approx(1));
  }
}

/// Numbered images of as many classes, with pixels that differ.
class Numbered : public Dataset {
 public:
  explicit Numbered(int64_t size) : names_(size_t(size), "a") {}
  int64_t size() const override { return int64_t(names_.size()); }
  const std::vector<std::string>& class_names() const override { return names_; }
  Sample get(int64_t index) const override {
    Sample sample{Image(16, 16), index};
    for (size_t i = 0; i < sample.image.pixels.size(); ++i)
      sample.image.pixels[i] = uint8_t(7 * i + 31 * size_t(index));
    return sample;
  }
  int64_t label(int64_t index) const override { return index; }

 private:
  std::vector<std::string> names_;
};

DataLoaderOptions loader_options(const MixOptions& mix, int workers = 0, Device device = kCPU) {
  return {.batch_size = 5, .shuffle = true, .workers = workers, .device = device, .seed = 3, .mix = mix};
}

std::vector<double> numbers_of(const Batch& batch) {
  std::vector<double> all = ops::to_vector<double>(batch.images);
  const std::vector<double> targets = ops::to_vector<double>(batch.target());
  all.insert(all.end(), targets.begin(), targets.end());
  return all;
}

}  // namespace

TEST_CASE("shares follow Beta(alpha, alpha)") {
  constexpr int kDraws = 40'000;
  for (const double alpha : {0.05, 0.2, 0.5, 1.0, 2.5, 100.0}) {
    CAPTURE(alpha);
    RandomStream random = stream(1);
    double sum = 0, squares = 0, below = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double x = random.symmetric_beta(alpha);
      CHECK((x >= 0 && x <= 1));
      sum += x - 0.5;
      squares += (x - 0.5) * (x - 0.5);
      below += x < 0.1;
    }
    // Within five standard deviations; the fourth moment of a distribution on [0, 1] is at most 1/16.
    const double variance = 1 / (4 * (2 * alpha + 1));
    CHECK(std::abs(sum / kDraws) < 5 * std::sqrt(variance / kDraws));
    CHECK(std::abs(squares / kDraws - variance) < 5 * std::sqrt(variance / 4 / kDraws));
    // Distribution functions in closed form: the arcsine's, the uniform one.
    const double expected = alpha == 0.5 ? 2 / M_PI * std::asin(std::sqrt(0.1)) : alpha == 1 ? 0.1 : NAN;
    if (!std::isnan(expected)) CHECK(std::abs(below / kDraws - expected) < 5 * std::sqrt(0.25 / kDraws));
  }
  RandomStream random = stream(2);
  for (int i = 0; i < 1000; ++i) {
    const double at_an_end = random.symmetric_beta(1e-9), middle = random.symmetric_beta(1e9);
    CHECK((at_an_end == 0 || at_an_end == 1));
    CHECK(std::abs(middle - 0.5) < 1e-3);
  }
}

TEST_CASE("mixup gives each image and its target a share of the one before") {
  const Device device = GENERATE(from_range(test_devices()));
  const DType dtype = GENERATE(kFloat32, kFloat64, kBFloat16);
  for (const int64_t n : {1, 2, 3, 7}) {
    Batch batch = plain_batch(n, 3, 5, device, dtype);
    const Tensor before = ops::clone(batch.images), found = batch.images;
    mix(batch, {.share = 0.75}, 9);
    check_targets(batch, 0.75, 9);
    CHECK(batch.probabilities.dtype() == (dtype == kFloat64 ? kFloat64 : kFloat32));
    CHECK(batch.images.dtype() == dtype);
    CHECK(batch.images.is_contiguous(kChannelsLast));
    CHECK(ops::to_vector<double>(found) == ops::to_vector<double>(before));
    const std::vector<double> pixels = ops::to_vector<double>(batch.images);
    for (int64_t i = 0; i < n * 45; ++i) {
      const int64_t image = i / 45, other = (image + n - 1) % n;
      CHECK(pixels[size_t(i)] == Approx(0.75 * double(image + 1) + 0.25 * double(other + 1)).epsilon(4e-3));
    }
  }
}

TEST_CASE("CutMix takes a rectangle of the image before, and its share of the target") {
  const Device device = GENERATE(from_range(test_devices()));
  const int width = 9, height = 6;
  for (const int64_t n : {1, 2, 5}) {
    for (const Box& box :
         {Box{2, 1, 4, 3}, Box{0, 0, 9, 6}, Box{8, 5, 1, 1}, Box{3, 3, 0, 0}, Box{3, 0, 0, 6}}) {
      CAPTURE(n, box.left, box.top, box.width, box.height);
      Batch batch = plain_batch(n, height, width, device);
      const Tensor before = ops::clone(batch.images), found = batch.images;
      const double share = 1 - double(box.width) * box.height / (width * height);
      mix(batch, {.cut = true, .share = share, .box = box}, n + 2);
      check_targets(batch, share, n + 2);
      CHECK(batch.images.is_contiguous(kChannelsLast));
      CHECK(ops::to_vector<double>(found) == ops::to_vector<double>(before));
      const std::vector<double> pixels = ops::to_vector<double>(batch.images);  // row-major
      for (int64_t i = 0; i < int64_t(pixels.size()); ++i) {
        const int64_t x = i % width, y = i / width % height, image = i / (width * height * 3);
        const bool inside =
            x >= box.left && x < box.left + box.width && y >= box.top && y < box.top + box.height;
        CHECK(pixels[size_t(i)] == double((inside ? (image + n - 1) % n : image) + 1));
      }
    }
  }
}

TEST_CASE("draws of CutMix: rectangles inside the image, with the share that they leave") {
  const int width = 40, height = 30;
  double area = 0;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random = stream(uint64_t(i));
    const Mix how = draw_mix({.cutmix = 1}, width, height, random);
    CHECK(how.cut);
    CHECK((how.box.left >= 0 && how.box.width >= 0 && how.box.left + how.box.width <= width));
    CHECK((how.box.top >= 0 && how.box.height >= 0 && how.box.top + how.box.height <= height));
    CHECK(how.share == Approx(1 - how.box.width * how.box.height / double(width * height)));
    area += 1 - how.share;
  }
  // Of a side of r * length around a uniform point, r (1 - r / 4) stay inside; r^2 is uniform for alpha = 1:
  // the integral of r^2 (1 - r / 4)^2 is 1/2 - 1/5 + 1/48. Halves are rounded down to whole pixels.
  CHECK(area / kDraws == Approx(0.3208).margin(0.03));

  int cut = 0;
  for (int i = 0; i < 4000; ++i) {
    RandomStream random = stream(uint64_t(i));
    cut += draw_mix({.mixup = 0.2, .cutmix = 1}, width, height, random).cut;
  }
  CHECK(std::abs(cut - 2000) < 5 * std::sqrt(1000));
  RandomStream random = stream(0);
  CHECK(!draw_mix({.mixup = 0.2}, width, height, random).cut);
}

TEST_CASE("mixed batches depend on seed, epoch and step alone") {
  const MixOptions both{.mixup = 0.4, .cutmix = 1, .classes = 30};
  const auto data = std::make_shared<Numbered>(21);  // the last batch has one image
  const auto transform = evaluation_transform(16, 16);
  DataLoader plain(data, transform, loader_options({})), loader(data, transform, loader_options(both));
  std::vector<std::vector<double>> batches;
  int changed = 0;
  for (const int64_t epoch : {0, 1}) {
    plain.start(epoch);
    loader.start(epoch);
    while (const auto batch = loader.next()) {
      const auto unmixed = plain.next();
      CHECK(batch->epoch == epoch);
      CHECK(batch->probabilities.shape() == Shape{batch->size(), 30});
      CHECK(!unmixed->probabilities.defined());
      changed += ops::to_vector<double>(batch->images) != ops::to_vector<double>(unmixed->images);
      batches.push_back(numbers_of(*batch));
    }
  }
  REQUIRE(batches.size() == 10);
  CHECK(changed >= 6);  // of 8 with more than one image; an empty rectangle changes nothing
  CHECK(batches[0] != batches[5]);

  DataLoader workers(data, transform, loader_options(both, 3));
  workers.start(1, 2);  // in the middle, and without what went before
  for (size_t i = 7; i < 10; ++i) CHECK(numbers_of(*workers.next()) == batches[i]);
  DataLoaderOptions other = loader_options(both);
  other.seed = 4;
  DataLoader another(data, transform, other);
  another.start(0);
  CHECK(numbers_of(*another.next()) != batches[0]);

  DataLoader usual(data, transform, loader_options({.mixup = 1}));
  usual.start(0);
  CHECK(usual.next()->probabilities.size(1) == 21);  // the data set's classes
  CHECK_THROWS_WITH(DataLoader(data, transform, loader_options({.mixup = 1, .classes = 20})),
                    Contains("mixed for 20 classes, but the data set has 21"));
  CHECK_THROWS_WITH(DataLoader(data, transform, loader_options({.cutmix = -1})),
                    Contains("must not be negative"));
  CHECK_THROWS_WITH(DataLoader(data, transform, loader_options({.mixup = NAN})),
                    Contains("must not be negative"));
}

TEST_CASE("a GPU mixes and erases as the CPU does") {
  const Device device = GENERATE(from_range(test_devices()));
  if (device.is_cpu()) return;
  const auto data = std::make_shared<Numbered>(21);
  ImageTransform transform = evaluation_transform(16, 16);
  transform.erase = 0.6;
  const MixOptions both{.mixup = 0.4, .cutmix = 1};
  DataLoader here(data, transform, loader_options(both)),
      there(data, transform, loader_options(both, 2, device));
  for (const int64_t epoch : {0, 1}) {
    here.start(epoch);
    there.start(epoch);
    while (const auto batch = there.next()) {
      const auto expected = here.next();
      CHECK(batch->probabilities.device() == device);
      check_close(batch->images, expected->images, tolerance(kFloat32), 4);
      check_close(batch->probabilities, expected->probabilities, tolerance(kFloat32));
    }
  }
}

#if TAPER_SIMULATED_GPU
TEST_CASE("the host does not wait for a GPU that mixes and erases") {
  ImageTransform transform = evaluation_transform(16, 16);
  transform.erase = 0.6;
  const Device device("cuda");
  DataLoader loader(std::make_shared<Numbered>(40), transform,
                    loader_options({.mixup = 0.4, .cutmix = 1}, 2, device));
  loader.start(0);
  loader.next();  // the first batch brings the numbers of the pixels along
  const uint64_t before = gpu::sim::host_waits();
  while (loader.next()) {
  }
  CHECK(gpu::sim::host_waits() == before);
  gpu::synchronize();
}
#endif

TEST_CASE("erased rectangles are 0 once images are normalised, and all else stays") {
  const auto data = std::make_shared<Numbered>(33);
  ImageTransform transform = evaluation_transform(16, 16), erasing = transform;
  const double p = GENERATE(0.5, 1.0);
  erasing.erase = p;
  DataLoader plain(data, transform, loader_options({})), loader(data, erasing, loader_options({}, 2));
  plain.start(2);
  loader.start(2);
  int erased = 0;
  while (const auto batch = loader.next()) {
    const Batch expected = *plain.next();
    REQUIRE(batch->erased.shape() == Shape{batch->size(), 4});
    const std::vector<int64_t> edges = ops::to_vector<int64_t>(batch->erased);
    const std::vector<float> pixels = ops::to_vector<float>(batch->images),
                             whole = ops::to_vector<float>(expected.images);
    for (int64_t i = 0; i < int64_t(pixels.size()); ++i) {
      const int64_t x = i % 16, y = i / 16 % 16, *edge = &edges[size_t(i / (16 * 16 * 3) * 4)];
      const bool inside = y >= edge[0] && x >= edge[1] && y < edge[2] && x < edge[3];
      CHECK(pixels[size_t(i)] == (inside ? 0 : whole[size_t(i)]));
    }
    for (int64_t i = 0; i < batch->size(); ++i) erased += edges[size_t(4 * i + 2)] > edges[size_t(4 * i)];
  }
  CHECK((p == 1 ? erased == 33 : erased > 6 && erased < 27));
  erasing.erase = 1.5;
  CHECK_THROWS_WITH(DataLoader(data, erasing, loader_options({})), Contains("must be 0 to 1, got 1.5"));
}
