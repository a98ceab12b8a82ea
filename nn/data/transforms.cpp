#include "taper/nn/data/transforms.h"

#include "taper/core/base/error.h"

namespace taper {

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
  TAPER_CHECK(resize >= image_size, "evaluation_transform: images resized to {} cannot be cropped to {}",
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

}  // namespace taper
