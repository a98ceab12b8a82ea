#include "taper/ops/image/normalize_images.h"

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/image/normalize_images_backend.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

void check(const Tensor& pixels, const NormalizeImagesOptions& options, const Tensor& corners,
           const Tensor& mirrored) {
  const char* const op = "normalize_images";
  check_defined(op, "images", pixels);
  TAPER_CHECK(pixels.dtype() == kUInt8 && pixels.dim() == 4 && (pixels.size(3) == 1 || pixels.size(3) == 3),
              "{}: needs u8 images [N, H, W, 1 or 3], got {} of shape {}", op, pixels.dtype(),
              pixels.shape());
  const auto channels = size_t(pixels.size(3));
  TAPER_CHECK(options.mean.size() == channels && options.std.size() == channels,
              "{}: {} means and {} standard deviations for {} channels", op, options.mean.size(),
              options.std.size(), channels);
  TAPER_CHECK(is_floating_point(options.dtype), "{}: the result must be floating point, got {}", op,
              options.dtype);
  TAPER_CHECK(options.height >= 0 && options.width >= 0, "{}: a piece of {} x {} pixels is none", op,
              options.height, options.width);
  check_same_device(op, pixels, corners, mirrored);
  TAPER_CHECK(
      !corners.defined() || (corners.dtype() == kInt32 && corners.shape() == Shape{pixels.size(0), 2}),
      "{}: corners must be i32 [{}, 2], got {} of shape {}", op, pixels.size(0), corners.dtype(),
      corners.shape());
  TAPER_CHECK(!mirrored.defined() || (mirrored.dtype() == kBool && mirrored.shape() == Shape{pixels.size(0)}),
              "{}: mirrored must be bool [{}], got {} of shape {}", op, pixels.size(0), mirrored.dtype(),
              mirrored.shape());
}

Tensor in_rows(const Tensor& x) {
  return x.defined() ? contiguous(x) : x;
}

}  // namespace

Tensor normalize_images(const Tensor& pixels, const NormalizeImagesOptions& options, const Tensor& corners,
                        const Tensor& mirrored) {
  const OpCall call("normalize_images", pixels);
  check(pixels, options, corners, mirrored);
  const int64_t height = options.height > 0 ? options.height : pixels.size(1);
  const int64_t width = options.width > 0 ? options.width : pixels.size(2);
  const Tensor y =
      empty({pixels.size(0), pixels.size(3), height, width},
            {.dtype = options.dtype, .device = pixels.device(), .memory_format = options.memory_format});
  if (y.numel() == 0) return y;
  const NormalizeImagesArgs args = {.pixels = in_rows(pixels),
                                    .corners = in_rows(corners),
                                    .mirrored = in_rows(mirrored),
                                    .y = y,
                                    .mean = options.mean,
                                    .std = options.std};
  pixels.device().is_cuda() ? normalize_images_gpu(args) : normalize_images_cpu(args);
  return y;
}

}  // namespace taper::ops
