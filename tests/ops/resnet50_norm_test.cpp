// Every candidate for each of ResNet-50's batch norms on the GPU, own kernels and the vendors', against the
// own kernel on these numbers in f32. Only on hardware: these are too large for the simulated GPU, which has
// no vendors' libraries.

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>

#include "bench/resnet50_layers.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/norm/batch_norm_call.h"
#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"
#include "tests/support/algorithm_mode.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/few_engines.h"
#include "tests/support/skip.h"
#include "tests/support/time_limit.h"

using namespace taper;

namespace {

constexpr int64_t kBatch = 8, kImageSize = 224;
constexpr double kUndecidedBits = 1e-3;

struct Precision {
  const char* name;
  DType dtype;
  double tolerance;  ///< of the root mean square of the errors, relative to that of the results
};

const std::vector<Precision> kPrecisions = {
    {"bf16", kBFloat16, 0x1p-7}, {"f16", kFloat16, 0x1p-9}, {"f32", kFloat32, 0x1p-15}};

/// Far enough from 0 that a variance computed as a difference of two sums of squares loses digits.
Tensor random_images(const Shape& shape, DType dtype, double mean) {
  return ops::as_columns(ops::cast(ops::add(ops::randn(shape, {.device = kCUDA}), mean), dtype));
}

Tensor random_row(int64_t channels) {
  return ops::add(ops::rand({channels}, {.device = kCUDA}), 0.5);
}

struct Kind {
  bool residual, relu;
};

ops::BatchNormCall forward_call(const Shape& shape, DType dtype, Kind kind) {
  const int64_t channels = shape[1];
  const Tensor x = random_images(shape, dtype, 8);
  return {
      .x = x,
      .weight = random_row(channels),
      .bias = random_row(channels),
      .residual = kind.residual ? random_images(shape, dtype, 0) : Tensor(),
      .options = {.relu = kind.relu},
      .y = ops::empty_columns(x),
      .save_mean = random_row(channels),
      .save_invstd = random_row(channels),
      .relu_mask = kind.relu ? empty(ops::relu_mask_shape(x), {.dtype = kUInt8, .device = kCUDA}) : Tensor(),
      .running_mean = random_row(channels),
      .running_var = random_row(channels)};
}

ops::BatchNormBackwardCall backward_call(const ops::BatchNormCall& forward) {
  const auto out = ops::batch_norm_training(forward.x, forward.weight, forward.bias, {}, {}, forward.options,
                                            forward.residual, true);
  const bool masks = forward.relu_mask.defined() && forward.residual.defined();
  return {.grad = random_images(forward.x.shape(), forward.x.dtype(), 0),
          .x = forward.x,
          .relu_mask = out.relu_mask,
          .weight = forward.weight,
          .save_mean = out.save_mean,
          .save_invstd = out.save_invstd,
          .grad_x = ops::empty_columns(forward.x),
          .grad_weight = random_row(forward.x.size(1)),
          .grad_bias = random_row(forward.x.size(1)),
          .grad_residual = masks ? ops::empty_columns(forward.x) : Tensor()};
}

ops::BatchNormCall in_f32(ops::BatchNormCall call) {
  for (Tensor* images : {&call.x, &call.residual, &call.y})
    if (images->defined()) *images = ops::cast(*images, kFloat32);
  return call;
}

ops::BatchNormBackwardCall in_f32(ops::BatchNormBackwardCall call) {
  for (Tensor* images : {&call.grad, &call.x, &call.grad_x, &call.grad_residual})
    if (images->defined()) *images = ops::cast(*images, kFloat32);
  return call;
}

double root_mean_square(const Tensor& x) {
  return std::sqrt(double(ops::mean(ops::square(x)).to(kCPU).item<float>()));
}

void check_output(const Tensor& actual, const Tensor& exact, double tolerance) {
  if (actual.dtype() != kUInt8) {
    const double error = root_mean_square(ops::sub(ops::cast(actual, kFloat32), exact));
    CHECK(error < tolerance * root_mean_square(exact));
    return;
  }
  const auto bits = ops::to_vector<uint8_t>(actual.to(kCPU)), right = ops::to_vector<uint8_t>(exact.to(kCPU));
  int64_t differing = 0;
  for (size_t i = 0; i < bits.size(); ++i) differing += std::popcount(uint8_t(bits[i] ^ right[i]));
  CHECK(double(differing) < kUndecidedBits * 8 * double(bits.size()));
}

/// What the test has looked at, of the first engines.
struct Seen {
  FewEngines few;
  CandidateRuns runs;
  TimeLimit limit;
};

template <class Call, class List>
void check_candidates(const Call& call, const List& list, double tolerance, Seen& seen) {
  const std::vector<Tensor> exact = outputs_of(in_f32(call), list(in_f32(call)).front());
  for (const Algorithm& candidate : list(call)) {
    INFO(candidate.name);
    const std::vector<Tensor> actual = seen.runs.outputs(candidate, call);
    for (size_t i = 0; i < actual.size(); ++i) {
      INFO("output " << i);
      check_output(actual[i], exact[i], tolerance);
    }
    if (!actual.empty()) seen.limit.checked();
  }
  seen.limit.left_out(seen.few.take_left_out());
}

/// Those of the network's batch norms, the smallest first.
std::vector<Shape> shapes() {
  std::vector<Shape> shapes;
  for (const ResnetLayer& layer : kResnet50Layers) {
    const int64_t size = layer.output_size(kImageSize);
    const Shape shape = {kBatch, layer.out, size, size};
    if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  }
  std::stable_sort(shapes.begin(), shapes.end(),
                   [](const Shape& a, const Shape& b) { return numel(a) < numel(b); });
  return shapes;
}

}  // namespace

TEST_CASE("every candidate for ResNet-50's batch norms agrees with the own kernel in f32") {
  if (gpu::device_count() == 0 || gpu::is_simulated()) return skip("for hardware alone");
  const AlgorithmModeGuard mode(AlgorithmMode::kBenchmark);  // in which the library is asked
  Seen seen;
  for (const Shape& shape : shapes()) {
    for (const Kind kind : {Kind{true, true}, Kind{false, true}, Kind{false, false}}) {
      for (const Precision& precision : kPrecisions) {
        INFO(shape.str() << ", " << precision.name << ", residual " << kind.residual << ", relu "
                         << kind.relu);
        if (!seen.limit.takes_one_more()) continue;
        const ops::BatchNormCall forward = forward_call(shape, precision.dtype, kind);
        check_candidates(forward, ops::batch_norm_algorithms, precision.tolerance, seen);
        check_candidates(backward_call(forward), ops::batch_norm_backward_algorithms, precision.tolerance,
                         seen);
      }
    }
  }
  seen.limit.report();
}
