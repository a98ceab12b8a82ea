// What the GPU's kernels reach: for each operation, shape and dtype the bytes per second it moves, counting
// every tensor once for each pass that needs it. `copy` is the measure: it moves as many bytes without
// arithmetic. For matrix products and convolutions, floating-point operations per second. Timed by events; on
// the simulated GPU the shapes are tiny and the times mean nothing.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <functional>

#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/image/normalize_images.h"
#include "taper/ops/index/index.h"
#include "taper/ops/loss/cross_entropy.h"
#include "taper/ops/matmul/matmul.h"
#include "taper/ops/norm/batch_norm.h"
#include "taper/ops/optimizer/layerwise.h"
#include "taper/ops/optimizer/optimizer.h"
#include "taper/ops/pool/pool2d.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"

using namespace taper;

namespace {

const Device kGpu("cuda");

/// Adds a benchmark of `run`, which enqueues one call on the current stream. `flops` is its number of
/// floating-point operations, if its speed is measured in those.
void add_benchmark(const std::string& name, double bytes, const std::function<void()>& run,
                   double flops = 0) {
  const auto measure = [=](benchmark::State& state) {
    run();  // the first call finds an empty allocator
    for (auto _ : state) {
      gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn);
      start.record();
      run();
      end.record();
      end.synchronize();
      state.SetIterationTime(double(end.elapsed_ms(start)) * 1e-3);
    }
    state.SetBytesProcessed(int64_t(double(state.iterations()) * bytes));
    if (flops > 0) {
      state.counters["flops"] =
          benchmark::Counter(double(state.iterations()) * flops, benchmark::Counter::kIsRate);
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), measure)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

/// Returns random numbers in channels_last, or in row-major order unless there are four axes.
Tensor random_images(const Shape& shape, DType dtype) {
  const Tensor x = ops::cast(ops::randn(shape), dtype);
  return ops::to_device(shape.size() == 4 ? ops::contiguous(x, kChannelsLast) : x, kGpu);
}

std::string label(const char* name, const Tensor& x) {
  return fmt::format("{}/{}/{}", name, x.shape(), x.dtype());
}

void add_copy(const Tensor& x) {
  const Tensor y = empty_like(x);
  add_benchmark(label("copy", x), 2 * double(x.size_bytes()), [=] { ops::copy_(y, x); });
}

void add_batch_norm(const Tensor& x) {
  const double size = double(x.size_bytes()), bits = double(x.numel()) / 8;  // bits: of the ReLU's mask
  const TensorOptions wide = {.dtype = compute_dtype(x.dtype()), .device = kGpu};
  const Tensor weight = ops::ones({x.size(1)}, wide), bias = ops::zeros({x.size(1)}, wide);
  const Tensor mean = ops::clone(bias), var = ops::clone(weight);
  const Tensor residual = ops::clone(x), grad = ops::clone(x);
  const BatchNormOptions options = {.relu = true};
  add_benchmark(label("batch_norm", x), 3 * size + bits,
                [=] { ops::batch_norm_training(x, weight, bias, mean, var, options, {}, true); });
  add_benchmark(label("batch_norm_residual", x), 4 * size + bits,
                [=] { ops::batch_norm_training(x, weight, bias, mean, var, options, residual, true); });
  add_benchmark(label("batch_norm_inference", x), 2 * size,
                [=] { ops::batch_norm_inference(x, weight, bias, mean, var, options); });
  const ops::BatchNormOutput out = ops::batch_norm_training(x, weight, bias, mean, var, options, {}, true);
  add_benchmark(label("batch_norm_backward", x), 5 * size + 2 * bits, [=] {
    ops::batch_norm_backward(grad, x, out.relu_mask, weight, out.save_mean, out.save_invstd, options);
  });
  add_benchmark(label("batch_norm_residual_backward", x), 6 * size + bits, [=] {
    ops::batch_norm_backward(grad, x, out.relu_mask, weight, out.save_mean, out.save_invstd, options, true);
  });
}

void add_pooling(const Tensor& x) {
  const double size = double(x.size_bytes());
  const MaxPool2dOptions largest = {.kernel = 3, .stride = 2, .padding = 1};
  const ops::MaxPool2dOutput maxima = ops::max_pool2d(x, largest);
  const double pooled = double(maxima.y.size_bytes() + maxima.indices.size_bytes());
  add_benchmark(label("max_pool2d", x), size + pooled, [=] { ops::max_pool2d(x, largest); });
  add_benchmark(label("max_pool2d_backward", x), size + pooled,
                [=] { ops::max_pool2d_backward(maxima.y, maxima.indices, x.shape(), largest); });
  const AvgPool2dOptions mean = {.kernel = 2};
  const Tensor means = ops::avg_pool2d(x, mean), one = ops::adaptive_avg_pool2d(x, 1);
  add_benchmark(label("avg_pool2d", x), size + double(means.size_bytes()), [=] { ops::avg_pool2d(x, mean); });
  add_benchmark(label("avg_pool2d_backward", x), size + double(means.size_bytes()),
                [=] { ops::avg_pool2d_backward(means, x.shape(), mean); });
  add_benchmark(label("global_avg_pool2d", x), size, [=] { ops::adaptive_avg_pool2d(x, 1); });
  add_benchmark(label("global_avg_pool2d_backward", x), size,
                [=] { ops::adaptive_avg_pool2d_backward(one, x.shape()); });
}

void add_elementwise(const Tensor& x) {
  const double size = double(x.size_bytes());
  const Tensor y = ops::clone(x), target = ops::clone(x);
  const Tensor channel = ops::ones({1, x.size(1), 1, 1}, {.dtype = x.dtype(), .device = kGpu});
  add_benchmark(label("relu", x), 2 * size, [=] { ops::relu(x); });
  add_benchmark(label("gelu", x), 2 * size, [=] { ops::gelu(x); });
  add_benchmark(label("gt_number", x), size + double(x.numel()), [=] { ops::gt(x, 0); });
  add_benchmark(label("mul_number_inplace", x), 2 * size, [=] { ops::mul_(target, 1.0); });
  add_benchmark(label("add", x), 3 * size, [=] { ops::add(x, y); });
  add_benchmark(label("add_scaled_inplace", x), 3 * size, [=] { ops::add_(target, y, 0.5); });
  add_benchmark(label("mul_by_channel", x), 2 * size, [=] { ops::mul(x, channel); });
  add_benchmark(label("gelu_backward", x), 3 * size, [=] { ops::gelu_backward(x, y); });
  add_benchmark(label("lerp", x), 3 * size, [=] { ops::lerp(x, y, 0.25); });
  if (x.dtype() == kFloat32) return;
  // Tensors of different dtypes take the general kernel.
  const Tensor wide = ops::cast(x, kFloat32);
  add_benchmark(label("add_inplace_to_f32", x), 5 * size, [=] { ops::add_(wide, x); });
}

void add_random(const Tensor& x) {
  const double size = double(x.size_bytes());
  const Tensor target = empty(x.shape(), {.dtype = x.dtype(), .device = kGpu});
  add_benchmark(label("uniform", x), size, [=] { ops::uniform_(target); });
  add_benchmark(label("normal", x), size, [=] { ops::normal_(target); });
  add_benchmark(label("dropout", x), 2 * size + double(x.numel()), [=] { ops::dropout(target, 0.5); });
}

/// Parameters of many sizes, as many as ResNet-50 has.
void add_optimizer(bool small) {
  std::vector<Tensor> params, grads, first, second;
  for (int i = 0; i < 161; ++i) {
    const int64_t size = small ? i : i % 3 == 0 ? int64_t(1) << (14 + i % 8) : 64 << i % 5;
    for (std::vector<Tensor>* list : {&params, &grads, &first, &second}) {
      list->push_back(ops::full({size}, 1e-3, {.device = kGpu}));
    }
  }
  double bytes = 0;
  for (const Tensor& x : params) bytes += double(x.size_bytes());
  add_benchmark("sgd_momentum", 5 * bytes, [=] {
    ops::sgd_update(params, grads, first, {.lr = 1e-3, .momentum = 0.9, .weight_decay = 1e-4}, false);
  });
  add_benchmark("adamw", 7 * bytes, [=] { ops::adamw_update(params, grads, first, second, {}, 2); });
  add_benchmark("lamb", 10 * bytes, [=] { ops::lamb_update(params, grads, first, second, {}, 2); });
  add_benchmark("lars", 7 * bytes, [=] {
    ops::lars_update(params, grads, first, {.momentum = 0.9, .weight_decay = 1e-4}, false);
  });
  add_benchmark("ema", 3 * bytes, [=] { ops::ema_update(second, params, 0.99); });
  add_benchmark("global_norm", bytes, [=] { ops::global_norm(grads); });
  const Tensor one = ops::ones({}, {.device = kGpu}), found = ops::zeros({}, {.device = kGpu});
  add_benchmark("unscale", 2 * bytes, [=] { ops::unscale_(grads, one, found); });
}

void add_images(bool small, DType dtype) {
  const Tensor pixels =
      ops::zeros(small ? Shape{2, 8, 8, 3} : Shape{512, 256, 256, 3}, {.dtype = kUInt8, .device = kGpu});
  const Tensor mirrored = ops::ones({pixels.size(0)}, {.dtype = kBool, .device = kGpu});
  for (const MemoryFormat format : {kChannelsLast, kContiguous}) {
    const ops::NormalizeImagesOptions options = {
        .height = small ? 4 : 224, .width = small ? 4 : 224, .dtype = dtype, .memory_format = format};
    const double elements = double(pixels.size(0) * 3 * options.height * options.width);
    add_benchmark(fmt::format("normalize_images/{}/{}", format == kChannelsLast ? "nhwc" : "nchw", dtype),
                  elements * double(1 + size_of(dtype)),
                  [=] { ops::normalize_images(pixels, options, {}, mirrored); });
  }
}

/// [n, n] x [n, n], with the second operand in either order.
void add_matmul(int64_t n, DType dtype) {
  const Tensor a = random_images({n, n}, dtype), b = random_images({n, n}, dtype);
  const double bytes = 3 * double(a.size_bytes()), flops = 2 * double(n) * double(n) * double(n);
  add_benchmark(
      label("matmul", a), bytes, [=] { ops::matmul(a, b); }, flops);
  add_benchmark(
      label("linear", a), bytes, [=] { ops::linear(a, b); }, flops);
}

/// The three passes of x: [N, C, H, W] with `filters` filters of kernel x kernel.
void add_conv2d(const Tensor& x, int64_t filters, int64_t kernel, int64_t stride) {
  const Conv2dOptions options = {.stride = stride, .padding = kernel / 2};
  const Tensor weight = random_images({filters, x.size(1), kernel, kernel}, x.dtype());
  const Tensor y = ops::conv2d(x, weight, {}, options);
  const double bytes = double(x.size_bytes() + weight.size_bytes() + y.size_bytes());
  const double flops = 2 * double(y.numel()) * double(weight.numel()) / double(filters);
  const auto add = [&](const char* pass, const std::function<void()>& run) {
    const std::string name = fmt::format("{}/{}x{} to {}, stride {}", pass, kernel, kernel, filters, stride);
    add_benchmark(label(name.c_str(), x), bytes, run, flops);
  };
  add("conv2d", [=] { ops::conv2d(x, weight, {}, options); });
  add("conv2d_backward_input", [=] { ops::conv2d_backward_input(y, weight, x.shape(), options); });
  add("conv2d_backward_weight", [=] { ops::conv2d_backward_weight(y, x, weight.shape(), options); });
}

/// ResNet-50's kinds of convolution.
void add_convolutions(bool small, DType dtype) {
  const int64_t batch = small ? 2 : 256;
  const auto images = [&](int64_t channels, int64_t size) {
    return random_images({batch, channels, small ? 4 : size, small ? 4 : size}, dtype);
  };
  add_conv2d(images(3, 224), 64, 7, 2);
  add_conv2d(images(64, 56), 64, 3, 1);
  add_conv2d(images(64, 56), 256, 1, 1);
  add_conv2d(images(128, 28), 128, 3, 1);
  add_conv2d(images(256, 28), 256, 3, 2);
  add_conv2d(images(512, 28), 1024, 1, 2);
  add_conv2d(images(256, 14), 256, 3, 1);
  add_conv2d(images(512, 7), 512, 3, 1);
}

/// x: a matrix.
void add_reductions(const Tensor& x) {
  const double size = double(x.size_bytes());
  add_benchmark(label("sum_all", x), size, [=] { ops::sum(x); });
  add_benchmark(label("sum_rows", x), size, [=] { ops::sum(x, {1}); });
  add_benchmark(label("sum_columns", x), size, [=] { ops::sum(x, {0}); });
  add_benchmark(label("argmax_rows", x), size, [=] { ops::argmax(x, 1); });
  add_benchmark(label("argmax_columns", x), size, [=] { ops::argmax(x, 0); });
}

/// x: [positions, classes].
void add_classification(const Tensor& x) {
  const double size = double(x.size_bytes());
  const Tensor target = ops::argmax(x, 1);
  const CrossEntropyOptions options = {.label_smoothing = 0.1};
  add_benchmark(label("softmax", x), 2 * size, [=] { ops::softmax(x, 1); });
  add_benchmark(label("softmax_columns", x), 2 * size, [=] { ops::softmax(x, 0); });
  add_benchmark(label("cross_entropy", x), size, [=] { ops::cross_entropy(x, target, options); });
  const ops::CrossEntropy forward = ops::cross_entropy(x, target, options);
  add_benchmark(label("cross_entropy_backward", x), 2 * size, [=] {
    ops::cross_entropy_backward(forward.loss, x, target, forward.log_sum_exp, forward.total_weight, options);
  });
}

/// x: a matrix whose rows are read, and added to, in another order.
void add_indexing(const Tensor& x) {
  const double size = double(x.size_bytes());
  const int64_t rows = x.size(0);
  const Tensor turned = ops::arange(rows - 1, -1, -1, {.dtype = kInt64, .device = kGpu});
  add_benchmark(label("index_select", x), 2 * size, [=] { ops::index_select(x, 0, turned); });
  add_benchmark(label("index_add", x), 5 * size, [=] { ops::index_add(x, 0, turned, x); });
}

}  // namespace

int main(int argc, char** argv) {
  start_program("kernel_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (gpu::device_count() == 0) {
    fmt::print(stderr, "kernel_bench: there is no GPU\n");
    return 1;
  }
  const bool small = gpu::is_simulated();
  for (const DType dtype : {kFloat32, kBFloat16}) {
    // ResNet-50's widest stages: many pixels of few channels, and few of many.
    const Tensor early = random_images(small ? Shape{2, 16, 6, 6} : Shape{256, 64, 56, 56}, dtype);
    const Tensor late = random_images(small ? Shape{2, 72, 3, 3} : Shape{512, 2048, 7, 7}, dtype);
    for (const Tensor& x : {early, late}) {
      add_copy(x);
      add_batch_norm(x);
      add_pooling(x);
    }
    add_matmul(small ? 128 : 8192, dtype);
    add_convolutions(small, dtype);
    add_elementwise(early);
    add_random(early);
    add_images(small, dtype);
  }
  add_optimizer(small);
  for (const DType dtype : {kFloat32, kBFloat16}) {
    for (const Shape& shape :
         {small ? Shape{24, 40} : Shape{65536, 1000}, small ? Shape{4, 96} : Shape{1024, 65536}}) {
      const Tensor x = random_images(shape, dtype);
      add_copy(x);
      add_reductions(x);
      add_classification(x);
      add_indexing(x);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
