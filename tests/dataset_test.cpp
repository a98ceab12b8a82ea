#include "taper/nn/data/dataset.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "pictures.h"
#include "taper/core/error.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/transforms.h"

using namespace taper;
using Catch::Contains;

TEST_CASE("the digits are 32 x 32 pictures of light ink") {
  const DigitsDataset train(DigitsDataset::Split::kTrain), test(DigitsDataset::Split::kTest);
  CHECK(train.size() == 1437);
  CHECK(test.size() == 360);
  CHECK(train.num_classes() == 10);
  CHECK(train.class_names()[7] == "7");

  const Digits digits = digits_train();
  for (int64_t i : {int64_t(0), int64_t(700), train.size() - 1}) {
    const Sample sample = train.get(i);
    CHECK(sample.label == digits.labels[size_t(i)]);
    CHECK(sample.image.width == 32);
    CHECK(sample.image.height == 32);
    // The mean ink survives the scaling.
    const auto first = digits.pixels.begin() + i * 64;
    const double ink = std::accumulate(first, first + 64, 0.0) / 64 / Digits::kMaxPixel * 255;
    const auto& pixels = sample.image.pixels;
    CHECK(std::accumulate(pixels.begin(), pixels.end(), 0.0) / double(pixels.size()) ==
          Approx(ink).margin(2));
  }
}

TEST_CASE("an image folder lists classes and pictures in torchvision's order") {
  const TemporaryFolder folder;
  const Image image = test_picture(9, 7, 1);
  for (const char* name :
       {"dog/b.png", "dog/a.PNG", "dog/Z.png", "cat/2/a.png", "cat/10/a.png", "cat/b.png", "Bird/x.png"})
    write_file(folder / name, png_bytes(image));
  write_file(folder / "dog/photo.jpeg", jpeg_bytes(image));
  write_file(folder / "dog/notes.txt", {'x'});
  write_file(folder / "stray.png", png_bytes(image));

  const ImageFolderDataset dataset(folder.path());
  CHECK(dataset.class_names() == std::vector<std::string>{"Bird", "cat", "dog"});
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    paths.push_back(dataset.path(i).substr(folder.path().size() + 1));
    labels.push_back(dataset.get(i).label);
  }
  CHECK(paths == std::vector<std::string>{"Bird/x.png", "cat/b.png", "cat/10/a.png", "cat/2/a.png",
                                          "dog/Z.png", "dog/a.PNG", "dog/b.png", "dog/photo.jpeg"});
  CHECK(labels == std::vector<int64_t>{0, 1, 1, 1, 2, 2, 2, 2});
  CHECK(dataset.get(0).image == image);

  write_file(folder / "dog/b.png", {1, 2, 3});
  CHECK_THROWS_WITH(dataset.get(6), folder / "dog/b.png" + ": not a JPEG or PNG picture");
}

TEST_CASE("an image folder that cannot serve says what is missing") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(ImageFolderDataset(folder / "none"), folder / "none" + ": no such directory");
  write_file(folder / "a.png", {});
  CHECK_THROWS_WITH(ImageFolderDataset(folder / "a.png"), folder / "a.png" + ": no such directory");
  CHECK_THROWS_WITH(ImageFolderDataset(folder.path()),
                    Contains(folder.path() + ": has no class folders") && Contains("/CLASS/NAME.jpg"));
  write_file(folder / "cat/a.png", {});
  std::filesystem::create_directories(folder / "dog/deeper");
  CHECK_THROWS_WITH(ImageFolderDataset(folder.path()),
                    folder / "dog" + ": holds no .jpg, .jpeg or .png picture");
}

TEST_CASE("synthetic pictures are random and the same each time") {
  const SyntheticDataset dataset(50, 7, 11, 3);
  CHECK(dataset.size() == 50);
  CHECK(dataset.num_classes() == 7);
  CHECK(dataset.get(4).image == dataset.get(4).image);
  CHECK(dataset.get(4).label == dataset.get(4).label);
  CHECK_FALSE(dataset.get(4).image == dataset.get(5).image);
  CHECK_FALSE(dataset.get(4).image == SyntheticDataset(50, 7, 11, 4).get(4).image);
  double sum = 0;
  std::vector<int> count(7);
  for (int64_t i = 0; i < 50; ++i) {
    const Sample sample = dataset.get(i);
    ++count.at(size_t(sample.label));
    for (const uint8_t pixel : sample.image.pixels) sum += pixel;
  }
  CHECK(sum / (50 * 11 * 11 * 3) == Approx(127.5).margin(3));
  for (const int c : count) CHECK(c > 0);
  CHECK_THROWS_WITH(SyntheticDataset(0, 1, 1), Contains("SyntheticDataset"));
}

TEST_CASE("training and validation data need the same classes") {
  const SyntheticDataset three(1, 3, 1), four(1, 4, 1);
  CHECK_NOTHROW(check_same_classes(three, three));
  CHECK_THROWS_WITH(check_same_classes(four, three), Contains("'class 3' is missing in the validation data"));
  CHECK_THROWS_WITH(check_same_classes(three, four), Contains("'class 3' is missing in the training data"));
}

TEST_CASE("transforms choose sizes and augmentations as documented") {
  CHECK(evaluation_transform(224).resize == 256);
  CHECK(evaluation_transform(32).resize == 37);
  CHECK(evaluation_transform(64, 64).resize == 64);
  CHECK_THROWS_WITH(evaluation_transform(64, 63), Contains("resized to 63 cannot be cropped to 64"));
  CHECK_THROWS_WITH(evaluation_transform(0), Contains("image size must be positive"));
  CHECK_THROWS_WITH(training_transform(-3), Contains("image size must be positive"));
  CHECK(training_transform(64).augmentation == Augmentation::kShift);
  CHECK(training_transform(65).augmentation == Augmentation::kResizedCrop);

  const Image image = test_picture(50, 40);
  RandomStream random(0, RandomPurpose::kAugment, 0, 0);
  CHECK(evaluation_transform(20, 22).apply(image, random) == center_crop(resize_shorter_side(image, 22), 20));

  // With kShift, both orientations and many places appear, each made from the centre of the picture.
  const Image center = resize_and_center_crop(image, 32, 32);
  int mirrored = 0, plain = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    RandomStream draws(0, RandomPurpose::kAugment, 0, i), again(0, RandomPurpose::kAugment, 0, i);
    const Image got = training_transform(32).apply(image, draws), shifted = random_shift(center, 4, again);
    mirrored += got == flip_horizontal(shifted);
    plain += got == shifted;
  }
  CHECK(mirrored + plain == 100);
  CHECK(mirrored > 25);
  CHECK(plain > 25);

  // With kResizedCrop, the picture is a scaled box of the original.
  RandomStream draws(0, RandomPurpose::kAugment, 0, 1), again(0, RandomPurpose::kAugment, 0, 1);
  const Image got = training_transform(70).apply(image, draws);
  const Image scaled = resize(image, random_resized_crop_box(50, 40, again), 70, 70);
  CHECK((got == scaled || got == flip_horizontal(scaled)));
}
