// Misaligned operands (misaligned_operands.h) of products, convolutions, pooling and batch norm; of the first
// two, every candidate of Taper's own. Which ones of a vendor's are offered depends on where operands lie:
// those of products run, so that a fault would be noticed, and cuDNN has none for misaligned operands
// (conv_library_test).

#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/gemm/gemm_call.h"
#include "taper/ops/matmul/matmul.h"
#include "taper/ops/norm/batch_norm.h"
#include "taper/ops/pool/pool2d.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/misaligned_operands.h"

using namespace taper;

namespace {

/// What each of Taper's own candidates leaves in the call's outputs, where these lie.
template <class Call>
Operands results_of(Call call, const std::vector<Algorithm>& candidates) {
  Operands results;
  for (const auto& candidate : candidates) {
    if (!candidate.supported || candidate.workspace_bytes > 0 || is_vendors(candidate.name)) continue;
    candidate.run(call, nullptr);
    for (const Tensor* output : call.outputs()) results.push_back(ops::clone(*output));
  }
  return results;
}

/// relu(a b + bias + residual), written to c; residual is given c's layout if it has another.
Operands products(const Operands& x) {
  const Tensor &a = x[0], &b = x[1], &c = x[2], &bias = x[3];
  Tensor residual = x[4];
  if (residual.strides() != c.strides()) {
    residual = views::as_strided(empty({2 * c.numel()}, {.dtype = c.dtype(), .device = kCUDA}), c.shape(),
                                 c.strides(), 0);
    ops::copy_(residual, x[4]);
  }
  const auto matrix = [](const Tensor& of) {
    return ops::GpuMatrix{.data = of.data_ptr(), .stride = of.strides()[0]};
  };
  const ops::GemmCall call{.gemm = {.dtype = c.dtype(),
                                    .sizes = {.m = c.size(0), .n = c.size(1), .k = a.size(1)},
                                    .a = matrix(a),
                                    .b = matrix(b),
                                    .c = matrix(c),
                                    .bias = bias.data_ptr(),
                                    .residual = residual.data_ptr(),
                                    .activation = Activation::kRelu},
                           .c = c};
  const auto candidates = ops::gemm_algorithms(call);
  CandidateRuns vendors;
  for (const auto& candidate : candidates)
    if (is_vendors(candidate.name)) vendors.run(candidate, call);
  return results_of(call, candidates);
}

/// One pass of a convolution: x: first, second, result, and forward bias, residual, and the prologue's two.
OpCase convolution(const char* name, ops::Conv2dPass pass, const Shape& input, const Shape& weight,
                   const Conv2dOptions& options, bool moments = false) {
  const auto conv = ops::conv2d_geometry("test", input, weight, options);
  const bool forward = pass == ops::Conv2dPass::kForward,
             by_weight = pass == ops::Conv2dPass::kBackwardWeight;
  const Shape& of_result = forward ? conv.output_shape() : by_weight ? weight : input;
  Operands operands = {pixels(forward ? input : conv.output_shape(), 1),
                       pixels(by_weight ? input : weight, 2), pixels(of_result, 3)};
  if (forward) {
    operands.push_back(numbers({conv.k}, 4));
    operands.push_back(pixels(of_result, 5));
    operands.push_back(numbers({conv.c}, 6));
    operands.push_back(numbers({conv.c}, 7));
  }
  const auto run = [=](const Operands& x) {
    const auto dense = [](const Tensor& operand) { return ops::contiguous(operand, kChannelsLast); };
    const Tensor first = dense(x[0]), second = dense(x[1]), written = dense(x[2]);
    ops::Conv2dCall call = {.pass = pass, .conv = conv};
    call.x = forward ? first : by_weight ? second : written;
    call.weight = by_weight ? written : second;
    call.y = forward ? written : first;
    Operands results;
    const auto add = [&] {
      for (const Tensor& result : results_of(call, ops::conv2d_gpu_algorithms(call)))
        results.push_back(result);
    };
    if (moments) {
      const DType wide = compute_dtype(x[0].dtype());
      for (Tensor* of_channel : {&call.moments.mean, &call.moments.var})
        *of_channel = ops::zeros({conv.k}, {.dtype = wide, .device = kCUDA});
    }
    add();
    if (!forward || moments) return results;
    call.bias = x[3];
    call.relu = true;
    add();
    call.residual = dense(x[4]);
    add();
    call.prologue = {x[5], x[6], true};
    add();
    return results;
  };
  return {name, operands, run, 4 * weight[1] * weight[2] * weight[3] + (by_weight ? 128 : 0)};
}

}  // namespace

TEST_CASE("misaligned operands: products") {
  const Tensor a = numbers({48, 64}, 1), b = numbers({64, 32}, 2), c = numbers({48, 32}, 3),
               bias = numbers({32}, 4);
  check_misaligned({
      {"every candidate", {a, b, c, bias, numbers({48, 32}, 5)}, products, 64},
      {"split sums",
       {numbers({16, 2048}, 1), numbers({2048, 16}, 2), numbers({16, 16}, 3), numbers({16}, 4),
        numbers({16, 16}, 5)},
       products,
       2048},
      {"matmul", {a, b}, [](const Operands& x) { return Operands{ops::matmul(x[0], x[1])}; }, 64},
      {"matmul, transposed",
       {numbers({64, 48}, 1), numbers({32, 64}, 2)},
       [](const Operands& x) {
         return Operands{ops::matmul(views::transpose(x[0], 0, 1), views::transpose(x[1], 0, 1))};
       },
       64},
      {"bmm",
       {numbers({3, 16, 32}), numbers({3, 32, 16}, 2)},
       [](const Operands& x) { return Operands{ops::bmm(x[0], x[1])}; },
       32},
      {"linear",
       {a, numbers({32, 64}, 2), bias},
       [](const Operands& x) { return Operands{ops::linear(x[0], x[1], x[2])}; },
       64},
      {"linear and GELU",
       {a, numbers({32, 64}, 2), bias},
       [](const Operands& x) { return Operands{ops::linear_fused(x[0], x[1], x[2], Activation::kGeluTanh)}; },
       64},
      {"a product with a vector",
       {a, numbers({64}, 2)},
       [](const Operands& x) { return Operands{ops::matmul(x[0], x[1])}; },
       64},
  });
}

TEST_CASE("misaligned operands: convolutions") {
  using Pass = ops::Conv2dPass;
  struct {
    const char* name;
    Shape input, weight;
    Conv2dOptions options;
  } const convolutions[] = {
      {"3x3", {1, 16, 6, 6}, {32, 16, 3, 3}, {.padding = 1}},
      {"3x3, stride 2, groups", {1, 32, 6, 6}, {32, 16, 3, 3}, {.stride = 2, .padding = 1, .groups = 2}},
      {"1x1", {2, 32, 4, 4}, {16, 32, 1, 1}, {}},
      {"1x1, groups", {2, 32, 4, 4}, {32, 16, 1, 1}, {.groups = 2}},
      {"1x1, stride 2", {2, 32, 4, 4}, {16, 32, 1, 1}, {.stride = 2}},
      {"depthwise", {2, 32, 6, 6}, {32, 1, 3, 3}, {.padding = 1, .groups = 32}},
  };
  std::vector<OpCase> cases;
  for (const auto& [name, input, weight, options] : convolutions) {
    for (const Pass pass : {Pass::kForward, Pass::kBackwardInput, Pass::kBackwardWeight})
      cases.push_back(convolution(name, pass, input, weight, options));
    cases.push_back(convolution(name, Pass::kForward, input, weight, options, /*moments=*/true));
  }
  check_misaligned(cases);
}

TEST_CASE("misaligned operands: pooling") {
  const Tensor x = pixels({2, 16, 8, 8}, 1), grad = pixels({2, 16, 4, 4}, 2);
  const MaxPool2dOptions max = {.kernel = 3, .stride = 2, .padding = 1};
  const AvgPool2dOptions average = {.kernel = 2};
  const Tensor indices = ops::contiguous(ops::max_pool2d(x, max).indices, kChannelsLast);
  const Shape input = x.shape();
  check_misaligned({
      {"max_pool2d",
       {x},
       [=](const Operands& from) {
         const auto result = ops::max_pool2d(from[0], max);
         return Operands{result.y, result.indices};
       }},
      {"max_pool2d_values",
       {x},
       [=](const Operands& from) { return Operands{ops::max_pool2d_values(from[0], max)}; }},
      {"max_pool2d_backward",
       {grad, indices},
       [=](const Operands& from) { return Operands{ops::max_pool2d_backward(from[0], from[1], input, max)}; },
       9},
      {"max_pool2d_gather",
       {x, indices},
       [](const Operands& from) { return Operands{ops::max_pool2d_gather(from[0], from[1])}; }},
      {"avg_pool2d",
       {x},
       [=](const Operands& from) { return Operands{ops::avg_pool2d(from[0], average)}; },
       4},
      {"avg_pool2d_backward",
       {grad},
       [=](const Operands& from) { return Operands{ops::avg_pool2d_backward(from[0], input, average)}; }},
      {"adaptive_avg_pool2d",
       {x},
       [](const Operands& from) { return Operands{ops::adaptive_avg_pool2d(from[0], 1)}; },
       64},
      {"adaptive_avg_pool2d_backward",
       {pixels({2, 16, 2, 2}, 3)},
       [=](const Operands& from) { return Operands{ops::adaptive_avg_pool2d_backward(from[0], input)}; }},
  });
}

TEST_CASE("misaligned operands: batch norm") {
  const Tensor x = pixels({2, 32, 6, 6}, 1), residual = pixels({2, 32, 6, 6}, 2),
               grad = pixels({2, 32, 6, 6}, 3);
  const auto channels = [](uint64_t seed) { return numbers({32}, seed); };
  const auto wide = [](const Tensor& of) { return ops::cast(of, kFloat32); };
  const BatchNormOptions relu = {.relu = true};
  const auto saved = ops::batch_norm_training(x, channels(4), channels(5), {}, {}, relu, residual, true);
  const Tensor mask = saved.relu_mask, mean = wide(saved.save_mean), invstd = wide(saved.save_invstd);
  // Statistics are in the compute dtype.
  const auto statistic = [](const Tensor& of, const Tensor& input) {
    return of.dtype() == compute_dtype(input.dtype()) ? of : ops::cast(of, compute_dtype(input.dtype()));
  };
  check_misaligned({
      {"training",
       {x, channels(4), channels(5), residual},
       [=](const Operands& on) {
         const DType dtype = compute_dtype(on[0].dtype());
         const Tensor running_mean = placed(ops::zeros({32}, {.dtype = dtype}), Place::kShifted),
                      running_var = placed(ops::ones({32}, {.dtype = dtype}), Place::kShifted);
         const auto result =
             ops::batch_norm_training(on[0], on[1], on[2], running_mean, running_var, relu, on[3], true);
         return Operands{result.y, result.save_mean, result.save_invstd, running_mean, running_var};
       },
       72},
      {"training, the mask",
       {x, channels(4), channels(5), residual},
       [=](const Operands& on) {
         return Operands{ops::batch_norm_training(on[0], on[1], on[2], {}, {}, relu, on[3], true).relu_mask};
       }},
      {"training with given moments",
       {x, wide(ops::batch_moments(x).mean), wide(ops::batch_moments(x).var)},
       [=](const Operands& on) {
         const BatchMoments moments = {statistic(on[1], on[0]), statistic(on[2], on[0])};
         return Operands{ops::batch_norm_training(on[0], {}, {}, {}, {}, {}, {}, false, moments).y};
       },
       72},
      {"batch_moments",
       {x},
       [](const Operands& on) {
         const auto result = ops::batch_moments(on[0]);
         return Operands{result.mean, result.var};
       },
       72},
      {"inference",
       {x, channels(4), channels(5), mean, invstd, residual},
       [=](const Operands& on) {
         return Operands{ops::batch_norm_inference(on[0], on[1], on[2], statistic(on[3], on[0]),
                                                   statistic(on[4], on[0]), relu, on[5])};
       }},
      {"backward",
       {grad, x, mask, channels(4), mean, invstd},
       [=](const Operands& on) {
         const auto result =
             ops::batch_norm_backward(on[0], on[1], ops::contiguous(on[2]), on[3], statistic(on[4], on[1]),
                                      statistic(on[5], on[1]), relu, true);
         return Operands{result.x, result.weight, result.bias, result.residual};
       },
       72},
      {"backward without ReLU",
       {grad, x, channels(4), mean, invstd},
       [=](const Operands& on) {
         const auto result = ops::batch_norm_backward(on[0], on[1], {}, on[2], statistic(on[3], on[1]),
                                                      statistic(on[4], on[1]), {}, true);
         return Operands{result.x, result.weight, result.bias, result.residual};
       },
       72},
      {"unpack_relu_mask",
       {mask, x},
       [](const Operands& on) { return Operands{ops::unpack_relu_mask(ops::contiguous(on[0]), on[1])}; }},
  });
}
