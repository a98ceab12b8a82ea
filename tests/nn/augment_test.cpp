// Random streams, and the crops that they choose: torchvision's distribution.

#include "taper/nn/data/augment.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "images.h"

using namespace taper;

namespace {

RandomStream stream(uint64_t seed, uint64_t epoch, uint64_t index) {
  return RandomStream(seed, RandomPurpose::kAugment, epoch, index);
}

}  // namespace

TEST_CASE("a random stream depends on seed, purpose, epoch and index alone") {
  CHECK(stream(1, 2, 3).bits() == stream(1, 2, 3).bits());
  std::set<uint64_t> first;
  for (uint64_t seed : {0, 1})
    for (auto purpose : {RandomPurpose::kShuffle, RandomPurpose::kAugment})
      for (uint64_t epoch : {0, 1, 1'000'000})
        for (uint64_t index : {0ull, 1ull, 1'000'000'000'000ull}) {
          RandomStream random(seed, purpose, epoch, index);
          const uint64_t high = random.bits();
          first.insert(high << 32 | random.bits());
        }
  CHECK(first.size() == 2 * 2 * 3 * 3);
}

TEST_CASE("draws are uniform") {
  RandomStream random = stream(0, 0, 0);
  constexpr int kDraws = 60'000;
  std::vector<int> count(6);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    ++count[random.below(6)];
    const double x = random.uniform(-1, 3);
    CHECK((x >= -1 && x < 3));
    sum += x;
  }
  // Within five standard deviations.
  for (const int c : count) CHECK(std::abs(c - kDraws / 6.0) < 5 * std::sqrt(kDraws * 5.0 / 36));
  CHECK(std::abs(sum / kDraws - 1) < 5 * 4 / std::sqrt(12.0 * kDraws));
  CHECK(random.below(1) == 0);
}

TEST_CASE("random resized crops have torchvision's areas, ratios and places") {
  constexpr int kWidth = 500, kHeight = 375, kDraws = 4000;
  double area_sum = 0, log_ratio_sum = 0, left_sum = 0, top_sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random = stream(3, 1, uint64_t(i));
    const Box box = random_resized_crop_box(kWidth, kHeight, random);
    CHECK((box.width >= 1 && box.left >= 0 && box.left + box.width <= kWidth));
    CHECK((box.height >= 1 && box.top >= 0 && box.top + box.height <= kHeight));
    const double area = double(box.width) * box.height / (kWidth * kHeight);
    const double ratio = double(box.width) / box.height;
    CHECK((area > 0.078 && area <= 1.0));
    CHECK((ratio > 0.73 && ratio < 1.36));
    area_sum += area;
    log_ratio_sum += std::log(ratio);
    left_sum += box.left + box.width / 2.0;
    top_sum += box.top + box.height / 2.0;
  }
  // The means of 200,000 draws of torchvision.transforms.RandomResizedCrop.get_params at this size.
  CHECK(area_sum / kDraws == Approx(0.434).margin(0.02));
  CHECK(log_ratio_sum / kDraws == Approx(0.031).margin(0.015));
  CHECK(left_sum / kDraws == Approx(kWidth / 2.0).margin(6));
  CHECK(top_sum / kDraws == Approx(kHeight / 2.0).margin(5));
}

TEST_CASE("images too long for any crop are cut at the centre") {
  // No box with 8% of the area and a ratio of at least 3/4 fits into these.
  RandomStream random = stream(0, 0, 0);
  CHECK(random_resized_crop_box(10, 1000, random) == Box{0, 493, 10, 13});
  CHECK(random_resized_crop_box(1000, 10, random) == Box{493, 0, 13, 10});
  CHECK(random_resized_crop_box(1, 1, random) == Box{0, 0, 1, 1});
}

TEST_CASE("random shifts move the image by up to the padding and fill with black") {
  const Image image = test_image(32, 32);
  std::set<std::pair<int, int>> seen;
  for (uint64_t i = 0; i < 2000; ++i) {
    RandomStream random = stream(9, 0, i);
    const Image shifted = random_shift(image, 4, random);
    REQUIRE(shifted.width == 32);
    REQUIRE(shifted.height == 32);
    int matches = 0;
    for (int dy = -4; dy <= 4; ++dy)
      for (int dx = -4; dx <= 4; ++dx)
        if (shifted == crop(image, {dx, dy, 32, 32})) seen.insert({dx, dy}), ++matches;
    REQUIRE(matches == 1);
  }
  CHECK(seen.size() == 81);
}

TEST_CASE("erased rectangles have torchvision's probability, areas, ratios and places") {
  constexpr int kWidth = 200, kHeight = 150, kDraws = 6000;
  int erased = 0;
  double area_sum = 0, log_ratio_sum = 0, place_sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random = stream(5, 1, uint64_t(i));
    const Box box = random_erasing_box(kWidth, kHeight, 0.25, random);
    if (box == Box()) continue;
    ++erased;
    CHECK((box.width >= 1 && box.left >= 0 && box.left + box.width <= kWidth));
    CHECK((box.height >= 1 && box.top >= 0 && box.top + box.height <= kHeight));
    const double area = double(box.width) * box.height / (kWidth * kHeight);
    const double ratio = double(box.height) / box.width;
    CHECK((area > 0.019 && area < 0.335));
    CHECK((ratio > 0.28 && ratio < 3.5));
    area_sum += area;
    log_ratio_sum += std::log(ratio);
    place_sum += double(box.left) / (kWidth - box.width) - 0.5;
  }
  CHECK(std::abs(erased - kDraws * 0.25) < 5 * std::sqrt(kDraws * 0.25 * 0.75));
  // Tall rectangles that do not fit are drawn again, so means are below those of the uniform distributions.
  CHECK(area_sum / erased == Approx(0.175).margin(0.015));
  CHECK(std::abs(log_ratio_sum / erased) < 0.15);
  CHECK(std::abs(place_sum / erased) < 5 * std::sqrt(1 / 12.0 / erased));

  RandomStream random = stream(5, 1, 0);
  CHECK(random_erasing_box(kWidth, kHeight, 0, random) == Box());
  const Box smallest = random_erasing_box(1, 1, 1, random);
  CHECK(smallest.width * smallest.height == 0);  // no rectangle is smaller than the image
}
