#include <algorithm>

#include "taper/ops/conv/gpu/conv_operands.cuh"
#include "taper/ops/conv/gpu/depthwise.h"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/gemm/gpu/gemm_launch.cuh"

namespace taper::ops {
namespace {

constexpr int kLanes = 32, kPixelThreads = 8;  // of a block: x along channels, y along pixels

// ---------------------------------------------------------------------------- forward, gradient w.r.t. input

/// The taps of one channel's filter in use: a grid inside weight[channel, r, s].
template <class T>
struct DepthwiseFilter {
  const T* data = nullptr;  ///< channel 0, first tap
  int64_t channel_stride = 0;
  int taps_y = 0, taps_x = 0;
  int64_t y_stride = 0, x_stride = 0;
};

/// out[pixel, c] = sum over taps of source[pixel sees tap, c] * filter[c, tap], then out's bias, residual and
/// ReLU. A thread computes kVector channels of kPixels neighbouring pixels, and reads a filter once for these
/// pixels. Blocks of 32 x 8 threads, grid (pixels / 32, channels / (32 * kVector)). Reads source from device
/// memory once and from the caches once per tap; writes out once. Limited by memory for small filters.
template <class T, int kVector>
__global__ void __launch_bounds__(kLanes* kPixelThreads)
    depthwise_convolve(PixelOperand<T, true> source, DepthwiseFilter<T> filter, GemmOutput<T> out, int pixels,
                       int channels) {
  constexpr int kPixels = 4;
  using Operand = PixelOperand<T, true>;
  using Vector = Pack<T, kVector>;
  const int channel = int(blockIdx.y * kLanes + threadIdx.x) * kVector;
  const int first = int(blockIdx.x * kPixelThreads + threadIdx.y) * kPixels;
  if (channel >= channels || first >= pixels) return;
  typename Operand::Row rows[kPixels];
#pragma unroll
  for (int i = 0; i < kPixels; ++i) rows[i] = source.row(first + i);

  Pack<SumOf<T>, kVector> sums[kPixels] = {};
  for (int y = 0; y < filter.taps_y; ++y) {
    for (int x = 0; x < filter.taps_x; ++x) {
      const int dy = y * source.tap_step_y, dx = x * source.tap_step_x;
      const typename Operand::Column column{dy * source.width + dx, dy, dx, channel};
      SumOf<T> weights[kVector];
#pragma unroll
      for (int c = 0; c < kVector; ++c) {
        weights[c] = device_cast<SumOf<T>>(
            filter.data[(channel + c) * filter.channel_stride + y * filter.y_stride + x * filter.x_stride]);
      }
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        const T* from = first + i < pixels ? source.at(rows[i], column) : nullptr;
        if (from == nullptr) continue;
        const Vector values = *reinterpret_cast<const Vector*>(from);
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
          sums[i].values[c] += device_cast<SumOf<T>>(values.values[c]) * weights[c];
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    if (first + i >= pixels) continue;
    const int64_t place = out.rows.offset(first + i) + channel;
    Vector values{};
    if (out.residual) values = *reinterpret_cast<const Vector*>(out.residual + place);
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      values.values[c] = out.finish(sums[i].values[c], channel + c, values.values[c]);
    }
    *reinterpret_cast<Vector*>(out.data + place) = values;
  }
}

template <class T>
void launch_convolve(const char* name, const PixelOperand<T, true>& source, const DepthwiseFilter<T>& filter,
                     const GemmOutput<T>& out, int64_t pixels, int64_t channels) {
  if (pixels == 0 || channels == 0) return;
  check_gemm_sizes(name, {.m = pixels, .n = channels, .k = int64_t(filter.taps_y) * filter.taps_x});
  const auto launch = [&]<int kVector>() {
    gpu::launch(name, depthwise_convolve<T, kVector>,
                {.grid = dim3(unsigned(ceil_div(pixels, 4 * kPixelThreads)),
                              unsigned(ceil_div(channels, kLanes * kVector))),
                 .block = dim3(kLanes, kPixelThreads)},
                source, filter, out, int(pixels), int(channels));
  };
  source.vectors&& out.vectors ? launch.template operator()<kVectorOf<T>>() : launch.template operator()<1>();
}

// ------------------------------------------------------------------------------------ gradient w.r.t. weight

constexpr int kTapsAtOnce = 4;

/// partial[split, c, tap] = sum over the split's pixels of grad[pixel, c] * x[pixel sees tap, c]. A thread
/// sums one channel and up to 4 neighbouring taps over every eighth pixel; the block adds the eight sums in
/// order. Blocks of 32 x 8 threads, grid (channels / 32, taps / 4, splits). Reads grad once per four taps and
/// x once per tap, through the caches. Limited by memory.
template <class T>
__global__ void __launch_bounds__(kLanes* kPixelThreads)
    depthwise_weight_sums(const T* grad, PixelOperand<T, false> x, SumOf<T>* partial, int pixels,
                          int pixels_per_split, int channels, int taps) {
  __shared__ SumOf<T> shared[kPixelThreads][kTapsAtOnce][kLanes];
  using Operand = PixelOperand<T, false>;
  const int channel = int(blockIdx.x * kLanes + threadIdx.x), first_tap = int(blockIdx.y) * kTapsAtOnce;
  const int begin = int(blockIdx.z) * pixels_per_split, end = min(pixels, begin + pixels_per_split);
  typename Operand::Column columns[kTapsAtOnce];
  SumOf<T> sums[kTapsAtOnce] = {};
#pragma unroll
  for (int i = 0; i < kTapsAtOnce; ++i) columns[i] = x.column((first_tap + i) * channels + channel);
  for (int pixel = begin + int(threadIdx.y); pixel < end && channel < channels; pixel += kPixelThreads) {
    const auto g = device_cast<SumOf<T>>(grad[int64_t(pixel) * channels + channel]);
    const auto row = x.row(pixel);
#pragma unroll
    for (int i = 0; i < kTapsAtOnce; ++i) {
      const T* from = first_tap + i < taps ? x.at(row, columns[i]) : nullptr;
      if (from) sums[i] += g * device_cast<SumOf<T>>(*from);
    }
  }
#pragma unroll
  for (int i = 0; i < kTapsAtOnce; ++i) shared[threadIdx.y][i][threadIdx.x] = sums[i];
  __syncthreads();
  const int tap = first_tap + int(threadIdx.y);
  if (threadIdx.y >= kTapsAtOnce || tap >= taps || channel >= channels) return;
  SumOf<T> sum = 0;
  for (int i = 0; i < kPixelThreads; ++i) sum += shared[i][threadIdx.y][threadIdx.x];
  partial[(int64_t(blockIdx.z) * channels + channel) * taps + tap] = sum;
}

template <class T>
void weight_gradient(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                     const Tensor& grad_weight) {
  const int64_t pixels = conv.n * conv.p * conv.q, taps = conv.taps();
  check_gemm_sizes("conv2d_backward_weight", {.m = conv.c, .n = taps * conv.c, .k = pixels});
  constexpr int64_t kFewestPixels = 256, kBlocksPerMultiprocessor = 8;
  const int64_t blocks = ceil_div(conv.c, kLanes) * ceil_div(taps, kTapsAtOnce);
  const int64_t wanted = gpu::properties().multiprocessors * kBlocksPerMultiprocessor / blocks;
  const int64_t parts = std::clamp<int64_t>(std::min(wanted, pixels / kFewestPixels), 1, 1024);
  const int64_t per_split = std::max<int64_t>(ceil_div(pixels, parts), 1);
  const int64_t splits = std::max<int64_t>(ceil_div(pixels, per_split), 1);
  const Tensor workspace =
      empty({splits, conv.c, taps}, {.dtype = dtype_of<SumOf<T>>, .device = grad_weight.device()});
  const PixelOperand<T, false> source(x.data_ptr(), 1, conv.c, forward_y(conv), forward_x(conv));
  gpu::launch("depthwise_weight_sums", depthwise_weight_sums<T>,
              {.grid = dim3(unsigned(ceil_div(conv.c, kLanes)), unsigned(ceil_div(taps, kTapsAtOnce)),
                            unsigned(splits)),
               .block = dim3(kLanes, kPixelThreads)},
              static_cast<const T*>(grad.data_ptr()), source, workspace.data<SumOf<T>>(), int(pixels),
              int(per_split), int(conv.c), int(taps));
  const auto finish = [&]<class Result>() {
    finish_splits<Result>({.data = static_cast<Result*>(grad_weight.data_ptr()),
                           .rows = {.image_stride = taps},
                           .partial = workspace.data<SumOf<T>>()},
                          {.m = int(conv.c), .n = int(taps), .batches = 1}, splits);
  };
  grad_weight.dtype() == grad.dtype() ? finish.template operator()<T>()
                                      : finish.template operator()<SumOf<T>>();
}

}  // namespace

void depthwise_forward_gpu(const Conv2dCall& call) {
  const Conv2dGeometry& conv = call.conv;
  dispatch_device_float(call.y.dtype(), [&]<class T>() {
    const auto data = [](const Tensor& x) { return x.defined() ? static_cast<T*>(x.data_ptr()) : nullptr; };
    const PixelOperand<T, true> source(data(call.x), 1, conv.c, forward_y(conv), forward_x(conv));
    const DepthwiseFilter<T> filter{.data = data(call.weight),
                                    .channel_stride = conv.taps(),
                                    .taps_y = int(conv.r),
                                    .taps_x = int(conv.s),
                                    .y_stride = conv.s,
                                    .x_stride = 1};
    const GemmOutput<T> out{.data = data(call.y),
                            .rows = {.image_stride = conv.c},
                            .bias = data(call.bias),
                            .residual = data(call.residual),
                            .relu = call.relu,
                            .vectors = has_channel_vectors<T>(data(call.y), conv.c) &&
                                       has_channel_vectors<T>(data(call.residual), conv.c)};
    launch_convolve("depthwise_forward", source, filter, out, conv.n * conv.p * conv.q, conv.c);
  });
}

void depthwise_backward_input_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& weight,
                                  const Tensor& grad_x) {
  dispatch_device_float(grad_x.dtype(), [&]<class T>() {
    for_each_phase(conv, [&](const BackwardPhase& phase) {
      const PixelOperand<T, true> source(grad.data_ptr(), 1, conv.k, phase.y, phase.x);
      DepthwiseFilter<T> filter{.data = static_cast<const T*>(weight.data_ptr()),
                                .channel_stride = conv.taps(),
                                .taps_y = int(phase.y.taps),
                                .taps_x = int(phase.x.taps),
                                .y_stride = phase.y.tap_distance * conv.s,
                                .x_stride = phase.x.tap_distance};
      if (phase.y.taps * phase.x.taps > 0) filter.data += phase.y.first_tap * conv.s + phase.x.first_tap;
      launch_convolve("depthwise_backward_input", source, filter,
                      phase_output<T>(conv, phase, grad_x.data_ptr()),
                      conv.n * phase.y.pixels * phase.x.pixels, conv.c);
    });
  });
}

void depthwise_backward_weight_gpu(const Conv2dGeometry& conv, const Tensor& grad, const Tensor& x,
                                   const Tensor& grad_weight) {
  dispatch_device_float(grad.dtype(), [&]<class T>() { weight_gradient<T>(conv, grad, x, grad_weight); });
}

}  // namespace taper::ops
