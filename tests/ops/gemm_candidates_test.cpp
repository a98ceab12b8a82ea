// Every candidate of the GPU's matrix product against f64: Taper's kernels anywhere, the vendor's where there
// is a GPU that has them, there for all of ResNet-50's products too.

#include <span>

#include "bench/resnet50_layers.h"
#include "candidate_outputs.h"
#include "resnet50_problems.h"
#include "skip.h"
#include "taper/core/tf32.h"
#include "taper/core/views.h"
#include "taper/ops/conv/gpu/product.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/gemm/gemm_call.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/vendor/engine_library.h"
#include "test_tensors.h"
#include "time_limit.h"
#include "tolerance.h"

using namespace taper;

namespace {

const Device kGpu("cuda");

struct Precision {
  const char* name;
  DType dtype;
  bool tf32;
};
constexpr Precision kPrecisions[] = {{"f64", kFloat64, false},
                                     {"f32", kFloat32, false},
                                     {"tf32", kFloat32, true},
                                     {"f16", kFloat16, false},
                                     {"bf16", kBFloat16, false}};

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

/// Fails unless |actual - expected| <= tolerance * (|expected| + mean |expected|) everywhere; computed on the
/// GPU, so that large results stay there.
void check_close_on_gpu(const Tensor& actual, const Tensor& expected, double tolerance) {
  const Tensor size = ops::abs(expected);
  const Tensor error = ops::abs(ops::sub(ops::cast(actual, kFloat64), expected));
  const double excess = double(ops::amax(ops::sub(error, ops::mul(size, tolerance))).item()),
               allowed = tolerance * double(ops::mean(size).item());
  CHECK(excess <= allowed);  // NaN is not
}

/// Returns what `call` computes; its matrices are in f64.
Tensor computed_exactly(const ops::GemmCall& call) {
  REQUIRE(call.gemm.dtype == kFloat64);
  ops::GpuGemm gemm = call.located();
  const bool gelu = gemm.activation == Activation::kGeluTanh;
  if (gelu) gemm.activation = Activation::kNone;
  ops::gemm_gpu("reference", gemm);
  return gelu ? ops::gelu_tanh(call.c) : call.c;
}

/// What a test has covered.
struct Seen {
  TimeLimit limit;
  CandidateRuns runs;
  int from_library = 0;
};

constexpr int kMostFromLibrary = 4;

/// Runs the candidates for `call`, of the library's only the first few. `expected` is in f64, laid out like
/// the result.
void check_all(const std::string& what, const ops::GemmCall& call, const Tensor& expected, Seen& seen) {
  const int64_t sum_length = call.gemm.sizes.k + 2;
  int from_library = 0;
  for (const auto& candidate : ops::gemm_algorithms(call)) {
    const bool vendors = is_vendors(candidate.name);
    if (vendors && ++from_library > kMostFromLibrary) {
      seen.limit.left_out(1);
      continue;
    }
    INFO(what << ": " << candidate.name << ", " << call.problem().str());
    ops::fill_(call.c, std::numeric_limits<double>::quiet_NaN());
    if (!seen.runs.run(candidate, call)) continue;
    check_close_on_gpu(call.c, expected, tolerance(call.gemm.dtype, sum_length) + 8 * candidate.epsilon);
    seen.limit.checked();
    seen.from_library += int(vendors);
  }
}

ops::GpuMatrix matrix(const Tensor& x, bool transposed) {
  return {
      .data = x.data_ptr(), .stride = x.size(-1), .transposed = transposed, .batch_inner = x.strides()[0]};
}

/// Checks ResNet-50's last layer, for 256 images.
void check_last_layer(const Precision& precision, Seen& seen) {
  if (!seen.limit.takes_one_more()) return;
  const auto& [name, dtype, tf32] = precision;
  const auto last_layer = [&](const Tensor& x, const Tensor& weight, const Tensor& bias) {
    const Tensor y = empty({x.size(0), weight.size(0)}, {.dtype = x.dtype(), .device = kGpu});
    return ops::GemmCall{.gemm = {.dtype = x.dtype(),
                                  .sizes = {.m = x.size(0), .n = weight.size(0), .k = x.size(1)},
                                  .a = matrix(x, false),
                                  .b = matrix(weight, true),
                                  .c = matrix(y, false),
                                  .bias = bias.data_ptr(),
                                  .allow_tf32 = tf32},
                         .c = y};
  };
  const Tensor x = random_tensor({256, 2048}, dtype, 1).to(kGpu),
               weight = random_tensor({1000, 2048}, dtype, 2).to(kGpu),
               bias = random_tensor({1000}, dtype, 3).to(kGpu);
  const Tensor expected = computed_exactly(
      last_layer(ops::cast(x, kFloat64), ops::cast(weight, kFloat64), ops::cast(bias, kFloat64)));
  check_all(fmt::format("last layer, {}", name), last_layer(x, weight, bias), expected, seen);
}

/// If there is a library, checks that the test has covered it.
void check_library_seen(const Seen& seen) {
  if (gpu::is_simulated()) return;
  if (ops::engine_library(ops::VendorLibrary::kCublaslt) == nullptr)
    WARN("no vendor's library here: only Taper's kernels were compared");
  else
    CHECK(seen.from_library > 0);
}

}  // namespace

TEST_CASE("all candidates of the GPU's matrix product agree with f64") {
  if (!has_gpu()) return;
  Seen seen;
  const struct {
    int64_t batches, m, n, k;
  } sizes[] = {{1, 64, 64, 64}, {1, 1, 1, 1}, {1, 33, 7, 19}, {3, 24, 40, 72}, {1, 8, 16, 2000}};
  for (const auto& [batches, m, n, k] : sizes) {
    for (const int layout : {0, 1, 2, 3}) {
      const bool a_transposed = layout & 1, b_transposed = layout & 2;
      const Shape a_shape = {batches, a_transposed ? k : m, a_transposed ? m : k},
                  b_shape = {batches, b_transposed ? n : k, b_transposed ? k : n};
      for (const auto& [name, dtype, tf32] : kPrecisions) {
        const auto random = [&](const Shape& shape, uint64_t seed) {
          return random_tensor(shape, dtype, seed).to(kGpu);
        };
        const Tensor a = random(a_shape, 1), b = random(b_shape, 2), bias = random({n}, 3),
                     residual = random({batches, m, n}, 4);
        const auto call_of = [&](DType computed_in, int epilogue, const Tensor& a_, const Tensor& b_,
                                 const Tensor& bias_, const Tensor& residual_) {
          const Tensor c = empty({batches, m, n}, {.dtype = computed_in, .device = kGpu});
          return ops::GemmCall{.gemm = {.dtype = computed_in,
                                        .sizes = {.m = m, .n = n, .k = k, .batch_inner = batches},
                                        .a = matrix(a_, a_transposed),
                                        .b = matrix(b_, b_transposed),
                                        .c = matrix(c, false),
                                        .bias = epilogue & 1 ? bias_.data_ptr() : nullptr,
                                        .residual = epilogue & 2 ? residual_.data_ptr() : nullptr,
                                        .activation = epilogue & 8   ? Activation::kGeluTanh
                                                      : epilogue & 4 ? Activation::kRelu
                                                                     : Activation::kNone,
                                        .allow_tf32 = tf32},
                               .c = c};
        };
        const auto wide = [](const Tensor& x) { return ops::cast(x, kFloat64); };
        const Tensor wide_a = wide(a), wide_b = wide(b), wide_bias = wide(bias),
                     wide_residual = wide(residual);
        for (const int epilogue : {0, 1, 4, 5, 7, 8, 9}) {
          if (!seen.limit.takes_one_more()) continue;
          const Tensor expected =
              computed_exactly(call_of(kFloat64, epilogue, wide_a, wide_b, wide_bias, wide_residual));
          check_all(name, call_of(dtype, epilogue, a, b, bias, residual), expected, seen);
        }
      }
    }
  }
  seen.limit.report();
  check_library_seen(seen);
}

TEST_CASE("all candidates of ResNet-50's 1x1 convolutions and last layer agree with f64") {
  if (!has_gpu() || gpu::is_simulated()) return skip("for hardware alone");
  const auto precisions = std::span(kPrecisions).subspan(1);
  Seen seen;
  const auto check_conv = [&](const ResnetLayer& layer, const Precision& precision, ops::Conv2dPass pass) {
    if (!seen.limit.takes_one_more()) return;
    const int64_t size = layer.input_size(224), batch = 8;
    const auto images = [&](int64_t channels, uint64_t seed) {
      const Tensor random = random_tensor({batch, channels, size, size}, precision.dtype, seed);
      return ops::contiguous(random, kChannelsLast).to(kGpu);
    };
    const Tensor x = images(layer.in, 1), grad = images(layer.out, 2),
                 weight = random_tensor({layer.out, layer.in, 1, 1}, precision.dtype, 3).to(kGpu);
    const auto conv = ops::conv2d_geometry("test", x.shape(), weight.shape(), {});
    const bool forward = pass == ops::Conv2dPass::kForward,
               by_weight = pass == ops::Conv2dPass::kBackwardWeight;
    const Tensor &first = forward ? x : grad, &second = by_weight ? x : weight;
    const Shape shape = forward ? grad.shape() : by_weight ? weight.shape() : x.shape();
    const auto call_of = [&](const Tensor& first_, const Tensor& second_) {
      const Tensor result =
          empty(shape, {.dtype = first_.dtype(), .device = kGpu, .memory_format = kChannelsLast});
      return ops::product_of({.pass = pass,
                              .conv = conv,
                              .x = forward     ? first_
                                   : by_weight ? second_
                                               : result,
                              .weight = by_weight ? result : second_,
                              .y = forward ? result : first_,
                              .allow_tf32 = precision.tf32});
    };
    const Tensor expected =
        computed_exactly(call_of(ops::cast(first, kFloat64), ops::cast(second, kFloat64)));
    check_all(fmt::format("{}, {}", layer.name, precision.name), call_of(first, second), expected, seen);
  };
  for (const Precision& precision : precisions) check_last_layer(precision, seen);
  for (const auto& [layer, round] : smallest_first()) {
    if (layer.kernel != 1 || layer.stride != 1) continue;
    for (const Precision& precision : precisions) {
      check_conv(layer, precision, ops::Conv2dPass::kForward);
      check_conv(layer, precision, ops::Conv2dPass::kBackwardInput);
      check_conv(layer, precision, ops::Conv2dPass::kBackwardWeight);
    }
  }
  seen.limit.report();
  check_library_seen(seen);
}
