// Data sets: the digits, folders of images with links of all kinds, synthetic images, and transforms.

#include "taper/nn/data/dataset.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "images.h"
#include "taper/core/base/error.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/data/image_list.h"
#include "taper/nn/data/synthetic_dataset.h"
#include "taper/nn/data/transforms.h"

using namespace taper;
using Catch::Contains;
using Catch::EndsWith;
using Catch::StartsWith;

TEST_CASE("the digits are 32 x 32 images of light ink") {
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

TEST_CASE("an image folder lists classes and images in torchvision's order") {
  const TemporaryFolder folder;
  const Image image = test_image(9, 7, 1);
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
  CHECK_THROWS_WITH(dataset.get(6), folder / "dog/b.png" + ": not a JPEG or PNG image");
}

TEST_CASE("an image folder that cannot serve says what is missing") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(ImageFolderDataset(folder / "none"), folder / "none" + ": no such directory");
  write_file(folder / "a.png", {});
  CHECK_THROWS_WITH(ImageFolderDataset(folder / "a.png"), folder / "a.png" + ": not a directory");
  CHECK_THROWS_WITH(ImageFolderDataset(folder.path()),
                    Contains(folder.path() + ": has no class folders") && Contains("/CLASS/NAME.jpg"));
  write_file(folder / "cat/a.png", {});
  std::filesystem::create_directories(folder / "dog/deeper");
  CHECK_THROWS_WITH(ImageFolderDataset(folder.path()),
                    folder / "dog" + ": holds no .jpg, .jpeg or .png image");
}

TEST_CASE("an image folder leaves out hidden names and says what it passed over") {
  const TemporaryFolder folder;
  const auto png = png_bytes(test_image(4, 4));
  for (const char* name : {"cat/1.png", "cat/2.png", "cat/._1.png", "cat/.cache/3.png", "cat/__MACOSX/4.png",
                           ".ipynb_checkpoints/5.png", "__MACOSX/cat/6.png", "cat/7.webp", "cat/deep/8.WEBP",
                           "cat/9.bmp", "cat/README", "cat/odd.\x1b[31m", "stray.png", "notes.txt"})
    write_file(folder / name, png);
  const ImageFolderDataset dataset(folder.path());
  CHECK(dataset.class_names() == std::vector<std::string>{"cat"});
  REQUIRE(dataset.size() == 2);
  CHECK(dataset.path(0) == folder / "cat/1.png");
  CHECK(dataset.describe(1) == folder / "cat/2.png");
  CHECK(dataset.passed_over().str() ==
        "5 hidden, 2 .webp, 1 .\\x1b[31m, 1 .bmp, 1 .txt, 1 outside the class folders, 1 without extension");

  write_file(folder / "dog/1.webp", png);
  write_file(folder / "dog/2.webp", png);
  CHECK_THROWS_WITH(ImageFolderDataset(folder.path()),
                    folder / "dog" + ": holds no .jpg, .jpeg or .png image; passed over: 2 .webp");

  PassedOver many;
  for (int i = 0; i < 12; ++i) many.counts[fmt::format(".{}", i)] = i + 1;
  CHECK(many.str() == "12 .11, 11 .10, 10 .9, 9 .8, 8 .7, 7 .6, 6 .5, 5 .4 and 4 other kinds");
  CHECK(PassedOver().str().empty());
}

TEST_CASE("an image folder tells of links that lead to nothing") {
  const TemporaryFolder folder;
  write_file(folder / "cat/1.png", png_bytes(test_image(4, 4)));
  namespace fs = std::filesystem;
  fs::create_symlink("1.png", folder / "cat/0.png");              // counts as an image
  fs::create_symlink("gone.png", folder / "cat/2.png");           // an image that cannot be read
  fs::create_symlink("gone", folder / "cat/folder");              // leads to nothing
  fs::create_symlink("gone", folder / "dog");                     // leads to nothing, not a class
  REQUIRE(mkfifo((folder / "cat/pipe").c_str(), 0600) == 0);      // no image
  REQUIRE(mkfifo((folder / "cat/pipe.png").c_str(), 0600) == 0);  // an image that cannot be read
  const ImageFolderDataset dataset(folder.path());
  CHECK(dataset.num_classes() == 1);
  REQUIRE(dataset.size() == 4);
  CHECK(dataset.get(0).image == dataset.get(1).image);
  CHECK_THROWS_WITH(dataset.get(2), folder / "cat/2.png" + ": no such file");
  CHECK_THROWS_WITH(dataset.get(3), folder / "cat/pipe.png" + ": not a file");
  CHECK(dataset.passed_over().str() == "2 links to nothing, 1 pipes or devices");
}

TEST_CASE("links among folders neither multiply images nor lead in circles") {
  const TemporaryFolder folder;
  const auto png = png_bytes(test_image(4, 4));
  for (const char* name : {"cat/1.png", "cat/deep/2.png", "dog/3.png"}) write_file(folder / name, png);
  write_file(folder / "elsewhere.d/4.png", png);
  std::filesystem::rename(folder / "elsewhere.d", folder.path() + "-elsewhere");
  namespace fs = std::filesystem;
  for (const char* name : {"l1", "l2", "l3"})
    fs::create_directory_symlink(".", folder / "cat/deep" + "/" + name);
  fs::create_directory_symlink("..", folder / "cat/up");
  fs::create_directory_symlink("../dog", folder / "cat/dog");
  fs::create_directory_symlink("deep", folder / "cat/deep-again");
  fs::create_directory_symlink(folder.path() + "-elsewhere", folder / "cat/elsewhere");
  fs::create_directory_symlink("dog", folder / "hound");  // a class by another name
  const ImageFolderDataset dataset(folder.path());
  fs::remove_all(folder.path() + "-elsewhere");
  CHECK(dataset.class_names() == std::vector<std::string>{"cat", "dog", "hound"});
  std::vector<std::string> names;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    names.push_back(fs::path(dataset.path(i)).filename());
    labels.push_back(dataset.label(i));
  }
  std::sort(names.begin(), names.begin() + 3);
  CHECK(names == std::vector<std::string>{"1.png", "2.png", "4.png", "3.png", "3.png"});
  CHECK(labels == std::vector<int64_t>{0, 0, 0, 1, 2});
  CHECK(dataset.passed_over().str() == "6 links to folders listed already");
}

TEST_CASE("a link to a folder that holds the classes is no class, and brings in no other data") {
  const TemporaryFolder folder;
  const auto png = png_bytes(test_image(4, 4));
  for (const char* name : {"train/cat/1.png", "train/dog/2.png", "val/cat/3.png"})
    write_file(folder / name, png);
  namespace fs = std::filesystem;
  fs::create_directory_symlink(".", folder / "train/here");
  fs::create_directory_symlink("..", folder / "train/up");
  fs::create_directory_symlink("/", folder / "train/top");
  fs::create_directory_symlink("../..", folder / "train/cat/up");  // would bring in val/cat/3.png
  const ImageFolderDataset dataset(folder / "train");
  CHECK(dataset.class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(dataset.size() == 2);
  CHECK(dataset.passed_over().str() ==
        "3 links to a folder around the classes, 1 links to folders listed already");
}

TEST_CASE("a folder's images are listed at any depth, and a list of images is a data set") {
  const TemporaryFolder folder;
  const Image image = test_image(9, 7, 1);
  for (const char* name : {"b.png", "a.png", "sub/deep/c.png", "sub/d.png", ".hidden.png"})
    write_file(folder / name, png_bytes(image));
  write_file(folder / "notes.txt", {'x'});
  std::filesystem::create_directory_symlink(folder.path(), folder / "sub/loop");
  std::filesystem::create_directory_symlink(folder / "sub/deep", folder / "again");

  PassedOver passed_over;
  const std::vector<std::string> paths = list_images(folder.path(), passed_over);
  const std::vector<std::string> expected = {folder / "a.png", folder / "b.png", folder / "sub/d.png",
                                             folder / "sub/deep/c.png"};
  // The folder that two names lead to comes once, under one of them.
  std::vector<std::string> other = expected;
  other.back() = folder / "again/c.png";
  std::ranges::sort(other);
  CHECK((paths == expected || std::is_permutation(paths.begin(), paths.end(), other.begin(), other.end())));
  CHECK(passed_over.counts ==
        std::map<std::string, int64_t>{{".txt", 1}, {"hidden", 1}, {"links to folders listed already", 2}});
  CHECK_THROWS_WITH(list_images(folder / "none", passed_over), Contains("no such directory"));

  const ImageListDataset dataset({folder / "b.png", folder / "none.png", folder / "b.png"});
  CHECK(dataset.size() == 3);
  CHECK(dataset.num_classes() == 0);
  CHECK(dataset.get(2).image == image);
  CHECK(dataset.get(2).label == 2);
  CHECK(dataset.label(1) == 1);
  CHECK(dataset.describe(1) == folder / "none.png");
  CHECK_THROWS_WITH(dataset.get(1), EndsWith("no such file"));
}

TEST_CASE("a folder that cannot be listed is named, and why") {
  const TemporaryFolder folder;
  const std::string long_name = folder / std::string(300, 'x');
  CHECK_THROWS_WITH(ImageFolderDataset(long_name), long_name + ": cannot be listed: File name too long");
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK_THROWS_WITH(ImageFolderDataset(folder / "loop"),
                    folder / "loop" + ": cannot be listed: Too many levels of symbolic links");

  // Nested folders until the path is too long.
  write_file(folder / "cat/a.png", png_bytes(test_image(4, 4)));
  const std::string name(200, 'd');
  int parent = open((folder / "cat").c_str(), O_RDONLY | O_DIRECTORY);
  for (int depth = 0; depth < 25; ++depth) {
    REQUIRE(mkdirat(parent, name.c_str(), 0700) == 0);
    const int child = openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY);
    REQUIRE(child >= 0);
    close(parent);
    parent = child;
  }
  close(parent);
  CHECK_THROWS_WITH(
      ImageFolderDataset(folder.path()),
      StartsWith(folder / "cat/" + name) && EndsWith(name + ": cannot be listed: File name too long"));

  if (geteuid() == 0) return;  // may list any folder
  const TemporaryFolder other;
  write_file(other / "cat/sub/a.png", {});
  write_file(other / "cat/b.png", {});
  std::filesystem::permissions(other / "cat/sub", std::filesystem::perms::none);
  CHECK_THROWS_WITH(ImageFolderDataset(other.path()),
                    other / "cat/sub" + ": cannot be listed: Permission denied");
  std::filesystem::permissions(other / "cat/sub", std::filesystem::perms::owner_all);
}

TEST_CASE("labels are told without reading, and a class without a readable image is found") {
  const DigitsDataset digits(DigitsDataset::Split::kTest);
  const SyntheticDataset synthetic(40, 7, 3, 5);
  for (int64_t i = 0; i < 40; ++i) {
    CHECK(digits.label(i) == digits.get(i).label);
    CHECK(synthetic.label(i) == synthetic.get(i).label);
  }
  CHECK(digits.describe(3) == "sample 3");

  const TemporaryFolder folder;
  const auto png = png_bytes(test_image(4, 4));
  const std::vector<uint8_t> webp = {'R', 'I', 'F', 'F', 0, 0, 0, 0, 'W', 'E', 'B', 'P'};
  for (const char* name : {"cat/2.png", "dog/3.png", "owl/1.png"}) write_file(folder / name, png);
  for (const char* name : {"cat/1.jpg", "dog/1.jpg", "dog/2.jpg"}) write_file(folder / name, webp);
  CHECK_NOTHROW(check_readable(ImageFolderDataset(folder.path())));
  CHECK(samples_by_class(ImageFolderDataset(folder.path())) ==
        std::vector<std::vector<int64_t>>{{0, 1}, {2, 3, 4}, {5}});
  std::filesystem::remove(folder / "dog/3.png");
  CHECK_THROWS_WITH(check_readable(ImageFolderDataset(folder.path())),
                    "class 'dog': none of its 2 images can be read; the first: " + (folder / "dog/1.jpg") +
                        ": not a JPEG or PNG image but WebP; convert it to one of these");
}

TEST_CASE("synthetic images are random and the same each time") {
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

  const Image image = test_image(50, 40);
  RandomStream random(0, RandomPurpose::kAugment, 0, 0);
  CHECK(evaluation_transform(20, 22).apply(image, random) == center_crop(resize_shorter_side(image, 22), 20));

  // With kShift, both orientations and many positions appear, each made from the centre of the image.
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

  // With kResizedCrop, the image is a scaled box of the original.
  RandomStream draws(0, RandomPurpose::kAugment, 0, 1), again(0, RandomPurpose::kAugment, 0, 1);
  const Image got = training_transform(70).apply(image, draws);
  const Image scaled = resize(image, random_resized_crop_box(50, 40, again), 70, 70);
  CHECK((got == scaled || got == flip_horizontal(scaled)));
}
