// The digits inside the library: their bytes, their split, their labels.

#include "taper/nn/data/digits.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>

using namespace taper;

namespace {

// FNV-1a: one changed byte changes the result.
uint64_t checksum(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

std::array<int, Digits::kClasses> histogram(const Digits& digits) {
  std::array<int, Digits::kClasses> counts{};
  for (const uint8_t label : digits.labels) counts.at(label)++;
  return counts;
}

}  // namespace

TEST_CASE("the embedded digits are all there") {
  const Digits train = digits_train(), test = digits_test();
  REQUIRE(train.size() == 1437);
  REQUIRE(test.size() == 360);
  REQUIRE(train.pixels.size() == 1437 * 64);
  REQUIRE(test.pixels.size() == 360 * 64);
  for (const Digits& digits : {train, test}) {
    REQUIRE(std::ranges::max(digits.pixels) == Digits::kMaxPixel);
    REQUIRE(std::ranges::min(digits.pixels) == 0);
  }
}

TEST_CASE("the embedded digits are the bytes that scripts/make_digits.py wrote") {
  CHECK(checksum(digits_train().pixels) == 0x59c372a21cf6cd88);
  CHECK(checksum(digits_train().labels) == 0x9925f55d97583af1);
  CHECK(checksum(digits_test().pixels) == 0x9d8718ca005ce5c4);
  CHECK(checksum(digits_test().labels) == 0x11b79d2f524e1217);
}

TEST_CASE("the split is balanced") {
  // scikit-learn's load_digits has these counts in total; 36 of each class are kept for testing.
  const std::array<int, 10> all = {178, 182, 177, 183, 181, 182, 181, 179, 174, 180};
  const auto train = histogram(digits_train()), test = histogram(digits_test());
  for (int label = 0; label < 10; ++label) {
    CHECK(test[label] == 36);
    CHECK(train[label] == all[label] - 36);
  }
}

TEST_CASE("pixels sit beside their labels") {
  // The first image of scikit-learn's file is a zero; the split moved it.
  const std::array<uint8_t, 16> first_rows = {0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0};
  int found = 0;
  for (const Digits& digits : {digits_train(), digits_test()}) {
    for (int64_t i = 0; i < digits.size(); ++i) {
      const auto image = digits.pixels.subspan(size_t(i) * 64, 64);
      if (!std::ranges::equal(image.first(16), first_rows)) continue;
      ++found;
      CHECK(digits.labels[size_t(i)] == 0);
    }
  }
  CHECK(found == 1);
}
