#include "taper/nn/data/transforms.h"

#include <array>

#include "taper/core/base/error.h"

namespace taper {
namespace {

// The colours' mean and standard deviation over ImageNet, as torchvision's models expect them.
constexpr float kMean[3] = {0.485f, 0.456f, 0.406f};
constexpr float kStd[3] = {0.229f, 0.224f, 0.225f};

// The f32 value of each 8-bit value of each channel.
std::array<std::array<float, 256>, 3> make_table() {
  std::array<std::array<float, 256>, 3> table;
  for (int c = 0; c < 3; ++c)
    for (int value = 0; value < 256; ++value) table[c][value] = (float(value) / 255.0f - kMean[c]) / kStd[c];
  return table;
}

}  // namespace

Image ImageTransform::apply(const Image& image, RandomStream& random) const {
  Image result;
  switch (augmentation) {
    case Augmentation::kNone:
      result = resize_and_center_crop(image, resize, image_size);
      break;
    case Augmentation::kResizedCrop: {
      const Box box = random_resized_crop_box(image.width, image.height, random);
      result = taper::resize(image, box, image_size, image_size);
      break;
    }
    case Augmentation::kShift:
      result = random_shift(resize_and_center_crop(image, resize, image_size), image_size / 8, random);
      break;
  }
  if (flip && random.below(2)) return flip_horizontal(result);
  return result;
}

ImageTransform evaluation_transform(int image_size, int resize) {
  TAPER_CHECK(image_size > 0, "evaluation_transform: image size must be positive, got {}", image_size);
  if (resize == 0) resize = (image_size * 256 + 112) / 224;
  TAPER_CHECK(resize >= image_size, "evaluation_transform: pictures resized to {} cannot be cropped to {}",
              resize, image_size);
  return {.image_size = image_size, .resize = resize};
}

ImageTransform training_transform(int image_size) {
  TAPER_CHECK(image_size > 0, "training_transform: image size must be positive, got {}", image_size);
  return {.image_size = image_size,
          .resize = image_size,
          .augmentation = image_size <= 64 ? Augmentation::kShift : Augmentation::kResizedCrop,
          .flip = true};
}

void normalize_pixels(const Image& image, float* out) {
  static const auto table = make_table();
  const uint8_t* pixel = image.pixels.data();
  for (int64_t i = int64_t(image.width) * image.height; i > 0; --i, pixel += 3, out += 3)
    for (int c = 0; c < 3; ++c) out[c] = table[c][pixel[c]];
}

}  // namespace taper
