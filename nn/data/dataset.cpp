#include "taper/nn/data/dataset.h"

#include <algorithm>
#include <cstring>

#include "taper/core/base/error.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/nn/data/augment.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/resize.h"

namespace taper {

std::string Dataset::describe(int64_t index) const {
  return fmt::format("sample {}", index);
}

DigitsDataset::DigitsDataset(Split split) {
  const Digits digits = split == Split::kTrain ? digits_train() : digits_test();
  samples_.reserve(size_t(digits.size()));
  for (int64_t i = 0; i < digits.size(); ++i) {
    Image small(Digits::kWidth, Digits::kHeight);
    for (int p = 0; p < Digits::kWidth * Digits::kHeight; ++p) {
      const int ink = digits.pixels[size_t(i) * Digits::kWidth * Digits::kHeight + p];
      std::fill_n(&small.pixels[3 * size_t(p)], 3,
                  uint8_t((ink * 255 + Digits::kMaxPixel / 2) / Digits::kMaxPixel));
    }
    samples_.push_back({resize(small, kImageSize, kImageSize), digits.labels[size_t(i)]});
  }
  for (int digit = 0; digit < Digits::kClasses; ++digit) class_names_.push_back(std::to_string(digit));
}

SyntheticDataset::SyntheticDataset(int64_t size, int64_t num_classes, int image_size, uint64_t seed)
    : size_(size), image_size_(image_size), seed_(seed) {
  TAPER_CHECK(size > 0 && num_classes > 0 && image_size > 0,
              "SyntheticDataset: needs at least one picture, class and pixel, got {}, {} and {}", size,
              num_classes, image_size);
  for (int64_t i = 0; i < num_classes; ++i) class_names_.push_back(fmt::format("class {}", i));
}

int64_t SyntheticDataset::label(int64_t index) const {
  return RandomStream(seed_, RandomPurpose::kPixels, 0, uint64_t(index)).below(uint32_t(num_classes()));
}

Sample SyntheticDataset::get(int64_t index) const {
  RandomStream random(seed_, RandomPurpose::kPixels, 0, uint64_t(index));
  Sample sample{Image(image_size_, image_size_), random.below(uint32_t(num_classes()))};
  auto& pixels = sample.image.pixels;
  for (size_t i = 0; i < pixels.size(); i += 4) {
    const uint32_t bits = random.bits();
    std::memcpy(&pixels[i], &bits, std::min<size_t>(4, pixels.size() - i));
  }
  return sample;
}

void check_same_classes(const Dataset& train, const Dataset& validation) {
  const auto require = [](const Dataset& a, const Dataset& b, const char* where) {
    for (const std::string& name : a.class_names())
      TAPER_CHECK(std::ranges::count(b.class_names(), name),
                  "class {} is missing in the {} data; both need the same class folders", quote_name(name),
                  where);
  };
  require(train, validation, "validation");
  require(validation, train, "training");
}

std::vector<std::vector<int64_t>> samples_by_class(const Dataset& dataset) {
  std::vector<std::vector<int64_t>> members(size_t(dataset.num_classes()));
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const int64_t label = dataset.label(i);
    TAPER_CHECK(label >= 0 && label < dataset.num_classes(), "{} is of class {}, but there are {} classes",
                dataset.describe(i), label, dataset.num_classes());
    members[size_t(label)].push_back(i);
  }
  return members;
}

void check_readable(const Dataset& dataset) {
  const auto members = samples_by_class(dataset);
  // What is wrong with the first picture of a class that has no readable one; empty for other classes.
  std::vector<std::string> problems(members.size());
  parallel_chunks(int64_t(members.size()), [&](int64_t label) {
    std::string& problem = problems[size_t(label)];
    for (const int64_t index : members[size_t(label)]) {
      try {
        dataset.get(index);
        problem.clear();
        return;
      } catch (const FileError& error) {
        if (problem.empty()) problem = error.what();
      }
    }
  });
  for (size_t label = 0; label < members.size(); ++label)
    if (!problems[label].empty())
      fail<FileError>("class {}: none of its {} pictures can be read; the first: {}",
                      quote_name(dataset.class_names()[label]), members[label].size(), problems[label]);
}

}  // namespace taper
