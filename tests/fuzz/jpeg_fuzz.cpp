// decode_image() on what may be a JPEG image.

#include "fuzz.h"
#include "taper/nn/data/image.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMostPixels = 1 << 18;  // larger ones take longer and show no more
  fuzz::accepts("image.jpg", [&] {
    const Image image = decode_image({data, size}, "image.jpg", {kMostPixels});
    const int64_t pixels = int64_t(image.width) * image.height;
    fuzz::require(pixels > 0 && pixels <= kMostPixels, "an image is within its limit");
    fuzz::require(image.pixels.size() == size_t(pixels) * 3, "an image has all its pixels");
  });
  return 0;
}
