// Batch normalisation through a vendor's library: what reaches it, what its engines may do to running
// statistics and masks, and when it is asked at all. The library is a naive one of the test's own; how
// engines are rejected, built, kept and loaded is the same for all ops (conv_library_test.cu).

#include <catch2/catch.hpp>

#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/norm/batch_norm_call.h"
#include "taper/ops/norm/batch_norm_gpu.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/fake_library.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"
#include "tests/support/warnings.h"

using namespace taper;
using ops::NormPass;
using ops::Operand;

namespace {

// ---------------------------------------------------------------------------------- the naive library

struct NaiveNorm {
  int64_t rows, channels;
  bool relu;
  double eps, momentum, factor;
  const void *x, *residual, *grad_y;
  const uint8_t* mask_in;
  void *y, *grad_x, *grad_residual;
  uint8_t* mask;
  const float *weight, *bias, *running_mean, *running_var;
  float *mean, *invstd, *next_mean, *next_var, *grad_weight, *grad_bias;
};

template <class T>
__device__ double at(const void* images, int64_t i) {
  return images == nullptr ? 0 : ops::device_cast<double>(static_cast<const T*>(images)[i]);
}

/// One thread for 8 channels, so that bytes of the mask have one writer.
template <class T>
__global__ void naive_norm_forward(NaiveNorm job) {
  const int64_t first = 8 * (int64_t(blockIdx.x) * blockDim.x + threadIdx.x);
  for (int64_t c = first; c < first + 8 && c < job.channels; ++c) {
    double mean = 0, m2 = 0;
    for (int64_t row = 0; row < job.rows; ++row) mean += at<T>(job.x, row * job.channels + c);
    mean /= double(job.rows);
    for (int64_t row = 0; row < job.rows; ++row) {
      const double distance = at<T>(job.x, row * job.channels + c) - mean;
      m2 += distance * distance;
    }
    const double invstd = 1 / sqrt(m2 / double(job.rows) + job.eps);
    job.mean[c] = float(mean);
    job.invstd[c] = float(invstd);
    if (job.running_mean != nullptr) {
      job.next_mean[c] = float((1 - job.momentum) * job.running_mean[c] + job.momentum * mean);
      const double variance = m2 / double(job.rows - 1);
      job.next_var[c] = float((1 - job.momentum) * job.running_var[c] + job.momentum * variance);
    }
    for (int64_t row = 0; row < job.rows; ++row) {
      const int64_t i = row * job.channels + c;
      double y = (at<T>(job.x, i) - mean) * invstd * double(job.weight[c]) + double(job.bias[c]);
      y += at<T>(job.residual, i);
      if (job.relu && y < 0) y = 0;
      static_cast<T*>(job.y)[i] = ops::device_cast<T>(y * job.factor);
      if (job.mask == nullptr) continue;
      if (i % 8 == 0) job.mask[i / 8] = 0;
      job.mask[i / 8] |= uint8_t(unsigned(y > 0) << i % 8);
    }
  }
}

template <class T>
__global__ void naive_norm_backward(NaiveNorm job) {
  const int64_t c = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= job.channels) return;
  const double mean = double(job.mean[c]), invstd = double(job.invstd[c]);
  const auto passed = [&](int64_t i) {
    const bool open = job.mask_in == nullptr || (job.mask_in[i / 8] >> i % 8 & 1) != 0;
    return open ? at<T>(job.grad_y, i) : 0.;
  };
  double sum = 0, dot = 0;
  for (int64_t row = 0; row < job.rows; ++row) {
    const int64_t i = row * job.channels + c;
    sum += passed(i);
    dot += passed(i) * (at<T>(job.x, i) - mean) * invstd;
  }
  job.grad_bias[c] = float(sum * job.factor);
  job.grad_weight[c] = float(dot);
  for (int64_t row = 0; row < job.rows; ++row) {
    const int64_t i = row * job.channels + c;
    const double normal = (at<T>(job.x, i) - mean) * invstd, rows = double(job.rows);
    const double grad = double(job.weight[c]) * invstd * (passed(i) - sum / rows - normal * dot / rows);
    static_cast<T*>(job.grad_x)[i] = ops::device_cast<T>(grad);
    if (job.grad_residual != nullptr) static_cast<T*>(job.grad_residual)[i] = ops::device_cast<T>(passed(i));
  }
}

/// FakeState::Compute for batch norm.
void compute_norm(const ops::EnginePattern& any, const ops::EngineOperands& operands, double factor) {
  const auto& pattern = std::get<ops::NormPattern>(any);
  const bool forward = pattern.pass == NormPass::kForward;
  const auto has = [&](Operand operand) { return operands.find(operand) != nullptr; };
  REQUIRE(has(Operand::kResidual) == (forward && pattern.residual));
  REQUIRE(has(Operand::kGradResidual) == (!forward && pattern.residual));
  REQUIRE(has(Operand::kReluMask) == (forward ? pattern.mask : pattern.relu));
  for (const Operand operand : {Operand::kRunningMean, Operand::kRunningVar, Operand::kNextRunningMean,
                                Operand::kNextRunningVar, Operand::kMomentum})
    REQUIRE(has(operand) == pattern.running);
  if (pattern.running)  // an engine may read them after it has written some
    REQUIRE(operands.address(Operand::kRunningMean) != operands.address(Operand::kNextRunningMean));
  const auto number = [&](Operand operand) {
    return has(operand) ? double(operands.find(operand)->number) : 0;
  };
  const auto row = [&](Operand operand) { return static_cast<float*>(operands.address(operand)); };
  auto* const mask = static_cast<uint8_t*>(operands.address(Operand::kReluMask));
  const int64_t channels = pattern.shape[1];
  const NaiveNorm job = {.rows = numel(pattern.shape) / channels,
                         .channels = channels,
                         .relu = pattern.relu,
                         .eps = number(Operand::kEpsilon),
                         .momentum = number(Operand::kMomentum),
                         .factor = factor,
                         .x = operands.address(Operand::kX),
                         .residual = operands.address(Operand::kResidual),
                         .grad_y = operands.address(Operand::kGradY),
                         .mask_in = mask,
                         .y = operands.address(Operand::kY),
                         .grad_x = operands.address(Operand::kGradX),
                         .grad_residual = operands.address(Operand::kGradResidual),
                         .mask = mask,
                         .weight = row(Operand::kWeight),
                         .bias = row(Operand::kBias),
                         .running_mean = row(Operand::kRunningMean),
                         .running_var = row(Operand::kRunningVar),
                         .mean = row(Operand::kMean),
                         .invstd = row(Operand::kInvstd),
                         .next_mean = row(Operand::kNextRunningMean),
                         .next_var = row(Operand::kNextRunningVar),
                         .grad_weight = row(Operand::kGradWeight),
                         .grad_bias = row(Operand::kGradBias)};
  const gpu::LaunchConfig launch = {.grid = dim3(unsigned((channels + 31) / 32)), .block = 32};
  ops::dispatch_device_float(pattern.dtype, [&]<class T>() {
    gpu::launch("naive_norm", forward ? naive_norm_forward<T> : naive_norm_backward<T>, launch, job);
  });
}

// -------------------------------------------------------------------------------------------- calls

/// A library for batch norm, in a mode that asks it.
struct FakeNormGuard : FakeGuard {
  FakeNormGuard() : FakeGuard(compute_norm) { start_process(AlgorithmMode::kBenchmark); }
};

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

Tensor columns(const Shape& shape, DType dtype, uint64_t seed) {
  return ops::as_columns(random_tensor(shape, dtype, seed).to(kCUDA));
}

Tensor row(int64_t channels, uint64_t seed) {
  return random_tensor({channels}, kFloat32, seed).to(kCUDA);
}

struct Case {
  Shape shape;
  DType dtype;
  bool residual, relu, mask, running;
};

ops::BatchNormCall forward_call(const Case& test) {
  const int64_t channels = test.shape[1];
  const Tensor x = columns(test.shape, test.dtype, 1);
  return {
      .x = x,
      .weight = row(channels, 2),
      .bias = row(channels, 3),
      .residual = test.residual ? columns(test.shape, test.dtype, 4) : Tensor(),
      .options = {.momentum = 0.3, .eps = 1e-3, .relu = test.relu},
      .y = ops::empty_columns(x),
      .save_mean = row(channels, 5),
      .save_invstd = row(channels, 6),
      .relu_mask = test.mask ? empty(ops::relu_mask_shape(x), {.dtype = kUInt8, .device = kCUDA}) : Tensor(),
      .running_mean = test.running ? row(channels, 7) : Tensor(),
      .running_var = test.running ? row(channels, 8) : Tensor(),
      .moments = {}};
}

ops::BatchNormBackwardCall backward_call(const Case& test) {
  const int64_t channels = test.shape[1];
  const Tensor x = columns(test.shape, test.dtype, 1);
  Tensor mask;
  if (test.relu) mask = ops::batch_norm_training(x, {}, {}, {}, {}, {.relu = true}, {}, true).relu_mask;
  return {.grad = columns(test.shape, test.dtype, 9),
          .x = x,
          .relu_mask = mask,
          .weight = row(channels, 2),
          .save_mean = row(channels, 5),
          .save_invstd = row(channels, 6),
          .grad_x = ops::empty_columns(x),
          .grad_weight = row(channels, 7),
          .grad_bias = row(channels, 8),
          .grad_residual = test.relu && test.residual ? ops::empty_columns(x) : Tensor()};
}

template <class Call>
void check_engine_agrees(const Call& call, const std::vector<Algorithm>& candidates) {
  REQUIRE(candidates.size() == 2);
  const std::vector<Tensor> own = outputs_of(call, candidates[0]), engine = outputs_of(call, candidates[1]);
  for (size_t i = 0; i < own.size(); ++i) {
    INFO("output " << i);
    if (own[i].dtype() == kUInt8) {
      CHECK(ops::to_vector<uint8_t>(own[i].to(kCPU)) == ops::to_vector<uint8_t>(engine[i].to(kCPU)));
    } else {
      check_close(engine[i], own[i], tolerance(own[i].dtype(), 64), 1);
    }
  }
}

const Case kUsual = {{2, 16, 3, 3}, kFloat32, true, true, true, true};

}  // namespace

// ------------------------------------------------------------------------------------- what reaches it

TEST_CASE("batch norm's operands reach the library's engine, which agrees with the own kernel") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat32, kFloat16, kBFloat16);
  const auto test = GENERATE_COPY(
      Case{{2, 16, 3, 5}, dtype, false, false, false, true},
      Case{{2, 16, 3, 5}, dtype, false, true, true, true}, Case{{3, 8, 2, 4}, dtype, true, true, true, true},
      Case{{3, 24, 2, 4}, dtype, true, true, true, false},
      Case{{2, 12, 3, 5}, dtype, false, true, false, true}, Case{{9, 40}, dtype, false, true, true, true});
  FakeNormGuard fake;
  fake.state->offers[0].workspace_bytes = 100;  // what follows it is aligned all the same
  const ops::BatchNormCall forward = forward_call(test);
  check_engine_agrees(forward, ops::batch_norm_algorithms(forward));
  if (test.mask || !test.relu) {
    const ops::BatchNormBackwardCall backward = backward_call(test);
    check_engine_agrees(backward, ops::batch_norm_backward_algorithms(backward));
  }
  for (const ops::EnginePattern& asked : fake.state->asked) {
    const auto& pattern = std::get<ops::NormPattern>(asked);
    CHECK(pattern.dtype == dtype);
    CHECK(pattern.shape.size() == 4);
    CHECK(numel(pattern.shape) == numel(test.shape));
  }
}

TEST_CASE("the library is not asked for batch norms that are not for it, or where no time is measured") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  ops::BatchNormCall call = forward_call(kUsual);
  SECTION("heuristic") {
    algorithm_cache().set_mode(AlgorithmMode::kHeuristic);
  }
  SECTION("deterministic") {
    algorithm_cache().set_mode(AlgorithmMode::kDeterministic);
  }
  SECTION("f64") {
    call = forward_call({{2, 16, 3, 3}, kFloat64, false, false, false, false});
  }
  SECTION("a mask whose rows do not fill bytes") {
    call = forward_call({{2, 12, 3, 3}, kFloat32, false, true, true, false});
  }
  SECTION("no weight") {
    call.weight = Tensor();
  }
  SECTION("moments known already") {
    call.moments = {row(16, 1), row(16, 2)};
  }
  SECTION("no bias") {
    call.bias = Tensor();
  }
  SECTION("half-precision running statistics") {
    call.running_mean = ops::cast(call.running_mean, kBFloat16);
    call.running_var = ops::cast(call.running_var, kBFloat16);
  }
  SECTION("running statistics with gaps") {
    call.running_mean = random_tensor({16, 2}, kFloat32).to(kCUDA).select(1, 0);
  }
  CHECK(ops::batch_norm_algorithms(call).size() == 1);
  CHECK(fake.state->asked.empty());
}

TEST_CASE("of many engines for batch norm the first few are candidates, behind the own kernel") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  fake.state->offers.clear();
  for (int i = 0; i < 30; ++i) fake.state->offers.push_back({.name = fmt::format("knobs {}", i)});
  const ops::BatchNormCall forward = forward_call(kUsual);
  const auto candidates = ops::batch_norm_algorithms(forward);
  REQUIRE(candidates.size() == 5);
  CHECK(candidates[4].name == "fakednn 1.0 knobs 3");
  for (size_t i = 1; i < candidates.size(); ++i) CHECK(candidates[i].rank > candidates[i - 1].rank);
  CHECK(ops::batch_norm_backward_algorithms(backward_call(kUsual)).size() == 5);
}

// ----------------------------------------------------------------------------------- how it is chosen

namespace {

/// Batch norm on the GPU, forward and backward, checked against the CPU's. Running statistics, too: updated
/// once, whatever has been measured.
void normalise() {
  const Shape shape = {2, 16, 3, 3};
  const Tensor x = random_tensor(shape, kFloat32, 1), residual = random_tensor(shape, kFloat32, 2),
               grad = random_tensor(shape, kFloat32, 3), weight = random_tensor({16}, kFloat32, 4),
               bias = random_tensor({16}, kFloat32, 5);
  const BatchNormOptions options = {.relu = true};
  const auto run = [&](Device device) {
    const auto on = [&](const Tensor& tensor) { return tensor.to(device); };
    const Tensor running_mean = on(ops::clone(bias)), running_var = on(ops::clone(weight));
    const auto out = ops::batch_norm_training(on(x), on(weight), on(bias), running_mean, running_var, options,
                                              on(residual), true);
    const auto grads = ops::batch_norm_backward(on(grad), on(x), out.relu_mask, on(weight), out.save_mean,
                                                out.save_invstd, options, true);
    return std::vector<Tensor>{out.y,   out.save_mean, out.save_invstd, running_mean,  running_var,
                               grads.x, grads.weight,  grads.bias,      grads.residual};
  };
  const std::vector<Tensor> actual = run(kCUDA), expected = run(kCPU);
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO("result " << i);
    check_close(actual[i], expected[i], tolerance(kFloat32, 36), 1);
  }
}

std::vector<AlgorithmRecord> gpu_decisions() {
  std::vector<AlgorithmRecord> records;
  for (const AlgorithmRecord& record : algorithm_cache().decisions()) {
    if (record.problem.starts_with("batch_norm")) records.push_back(record);
  }
  return records;
}

}  // namespace

TEST_CASE("measuring batch norm's engines leaves running statistics updated once") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  algorithm_cache().set_verify(true);
  const Warnings warnings;
  for (int i = 0; i < 2; ++i) normalise();
  CHECK(warnings.texts.empty());
  CHECK(fake.state->count("run naive") > 2);
  const auto records = gpu_decisions();
  REQUIRE(records.size() == 2);
  for (const AlgorithmRecord& record : records) {
    CHECK(record.candidates.size() == 2);
    CHECK(record.verified);
  }
}

TEST_CASE("batch norm's wrong engines are rejected, those that refuse are out of the race") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  fake.state->offers = {{.name = "refuses", .fails_to_run = true},
                        {.name = "unbuildable", .fails_to_build = true},
                        {.name = "wrong", .factor = 1.1},
                        {.name = "huge", .workspace_bytes = size_t(2) << 30}};
  algorithm_cache().set_verify(true);
  const Warnings warnings;
  normalise();
  const auto records = gpu_decisions();
  REQUIRE(records.size() == 2);
  for (const AlgorithmRecord& record : records) CHECK(record.winner == "chunks of rows");
  REQUIRE(warnings.texts.size() == 2);
  for (const std::string& text : warnings.texts) CHECK_THAT(text, Catch::Contains("wrong is rejected"));
  CHECK(fake.state->count("build huge") == 0);
}

TEST_CASE("a library that offers nothing for batch norm, fails, or is missing leaves the own kernel") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  const Warnings warnings;
  SECTION("nothing") {
    fake.state->offers.clear();
    normalise();
    CHECK(warnings.texts.empty());
  }
  SECTION("failing") {
    fake.state->fails = true;
    normalise();
    REQUIRE(warnings.texts.size() == 2);
    CHECK_THAT(warnings.texts[0], Catch::StartsWith("batch_norm training x=f32[2,16,3,3]:channels_last") &&
                                      Catch::Contains("fakednn: internal error"));
  }
  SECTION("missing") {
    ops::set_engine_library_loader(ops::VendorLibrary::kCudnn,
                                   []() -> std::unique_ptr<ops::EngineLibrary> { fail("no cuDNN here"); });
    normalise();
    CHECK(warnings.texts == std::vector<std::string>{"no cuDNN here; convolutions and batch norm use "
                                                     "Taper's own kernels"});
  }
  for (const AlgorithmRecord& record : gpu_decisions()) CHECK(record.winner == "chunks of rows");
}

TEST_CASE("a second process loads the plan for batch norm that the first has chosen and kept") {
  if (!has_gpu()) return;
  FakeNormGuard fake;
  fake.state->offers[0].compiles = true;
  const ops::BatchNormCall call = forward_call(kUsual);
  const auto use_engine = [&] {
    const auto candidates = ops::batch_norm_algorithms(call);
    outputs_of(call, candidates[1]);
    candidates[1].chosen();
  };
  use_engine();
  CHECK(fake.plan_files().size() == 1);
  fake.start_process(AlgorithmMode::kBenchmark);
  use_engine();
  CHECK(fake.state->log == std::vector<std::string>{"load naive", "run naive"});
}
