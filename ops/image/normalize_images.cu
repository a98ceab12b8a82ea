#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/image/normalize_images_backend.h"

namespace taper::ops {
namespace {

constexpr int kRun = 4;  // pixels of one row per thread

template <class Out>
struct NormalizeImagesKernel {
  const uint8_t* pixels;
  const int32_t* corners;
  const bool* mirrored;
  Out* y;
  float mean[3], std[3];
  int source_height, source_width, width;
  int64_t stride_n, stride_c, stride_p, stride_q;  // of y
  bool aligned;                                    // to whole runs
  uint32_t runs;
  FastDivisor runs_of_row, rows_of_image;
};

/// Looks up every pixel in a table of the 256 values of its channel, which each block computes first: exactly
/// the CPU's numbers, and no divisions per pixel. A thread makes 4 pixels at a time; as many blocks of 256
/// threads as the GPU holds loop over all pixels. Limited by memory: reads 1 byte and writes 2 or 4 an
/// element. A warp's byte loads fall into a few lines of the first-level cache.
template <class Out, int kChannels>
__global__ void __launch_bounds__(kLoopBlock)
    normalize_runs(const __grid_constant__ NormalizeImagesKernel<Out> k) {
  __shared__ float table[kChannels][256];
  for (int i = int(threadIdx.x); i < kChannels * 256; i += int(blockDim.x)) {
    table[i / 256][i % 256] = (float(i % 256) / 255.0f - k.mean[i / 256]) / k.std[i / 256];
  }
  __syncthreads();
  for (uint32_t run = blockIdx.x * blockDim.x + threadIdx.x; run < k.runs; run += gridDim.x * blockDim.x) {
    const uint32_t row = k.runs_of_row.quotient(run), n = k.rows_of_image.quotient(row);
    const int q = int(run - row * k.runs_of_row.divisor) * kRun;
    const int p = int(row - n * k.rows_of_image.divisor);
    const int source_row = p + (k.corners ? k.corners[2 * n] : 0);
    const int left = k.corners ? k.corners[2 * n + 1] : 0;
    const bool flip = k.mirrored && k.mirrored[n];
    const bool row_inside = source_row >= 0 && source_row < k.source_height;
    const uint8_t* source =
        k.pixels + (int64_t(n) * k.source_height + source_row) * k.source_width * kChannels;
    const int count = min(kRun, k.width - q);
    Out values[kRun][kChannels];
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const int column = left + (flip ? k.width - 1 - (q + i) : q + i);
      const bool inside = row_inside && i < count && column >= 0 && column < k.source_width;
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        const int pixel = inside ? source[int64_t(column) * kChannels + c] : 0;
        values[i][c] = device_cast<Out>(table[c][pixel]);
      }
    }
    Out* y = k.y + n * k.stride_n + p * k.stride_p + q * k.stride_q;
    const bool whole = count == kRun && k.aligned;
    if (whole && k.stride_q == kChannels) {  // channels_last
      const Out* flat = &values[0][0];
#pragma unroll
      for (int part = 0; part < kChannels; ++part) {
        Pack<Out, kRun> pack;
#pragma unroll
        for (int i = 0; i < kRun; ++i) pack.values[i] = flat[part * kRun + i];
        *reinterpret_cast<Pack<Out, kRun>*>(y + part * kRun) = pack;
      }
    } else if (whole) {  // planes
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        Pack<Out, kRun> pack;
#pragma unroll
        for (int i = 0; i < kRun; ++i) pack.values[i] = values[i][c];
        *reinterpret_cast<Pack<Out, kRun>*>(y + c * k.stride_c) = pack;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          if (i < count) y[i * k.stride_q + c * k.stride_c] = values[i][c];
        }
      }
    }
  }
}

template <class Out>
void launch(const NormalizeImagesArgs& args) {
  const Tensor& y = args.y;
  const int64_t channels = y.size(1), height = y.size(2), width = y.size(3);
  NormalizeImagesKernel<Out> k = {};
  for (size_t c = 0; c < size_t(channels); ++c) k.mean[c] = args.mean[c], k.std[c] = args.std[c];
  k.source_height = int(args.pixels.size(1));
  k.source_width = int(args.pixels.size(2));
  k.width = int(width);
  k.stride_n = y.strides()[0], k.stride_c = y.strides()[1], k.stride_p = y.strides()[2],
  k.stride_q = y.strides()[3];
  // Rows of whole runs keep every run of an aligned tensor aligned, in both formats.
  const size_t run_bytes = std::min<size_t>(sizeof(Out) * kRun, 16);
  k.aligned = width % kRun == 0 && reinterpret_cast<uintptr_t>(y.data_ptr()) % run_bytes == 0;
  const int64_t runs_of_row = ceil_div(width, kRun);
  k.runs_of_row = FastDivisor(uint32_t(runs_of_row));
  k.rows_of_image = FastDivisor(uint32_t(height));
  // As many images at a time as have 31-bit indices for their runs.
  const int64_t batch = std::max<int64_t>(1, kMaxGpuLoop / 2 / (height * runs_of_row));
  for (int64_t first = 0; first < y.size(0); first += batch) {
    k.pixels = args.pixels.data<uint8_t>() + first * args.pixels.strides()[0];
    k.corners = args.corners.defined() ? args.corners.data<int32_t>() + first * 2 : nullptr;
    k.mirrored = args.mirrored.defined() ? args.mirrored.data<bool>() + first : nullptr;
    k.y = static_cast<Out*>(y.data_ptr()) + first * y.strides()[0];
    k.runs = uint32_t(std::min(batch, y.size(0) - first) * height * runs_of_row);
    const unsigned resident = unsigned(gpu::properties(y.device().index).multiprocessors) * 8;
    gpu::launch("normalize_images", channels == 1 ? normalize_runs<Out, 1> : normalize_runs<Out, 3>,
                {.grid = std::min(resident, ceil_div(k.runs, kLoopBlock)), .block = kLoopBlock}, k);
  }
}

}  // namespace

void normalize_images_gpu(const NormalizeImagesArgs& args) {
  const gpu::DeviceGuard guard(args.y.device().index);
  switch (args.y.dtype()) {
    case kFloat64:
      return launch<double>(args);
    case kFloat16:
      return launch<__half>(args);
    case kBFloat16:
      return launch<__nv_bfloat16>(args);
    default:
      return launch<float>(args);
  }
}

}  // namespace taper::ops
