#include "taper/ops/norm/batch_norm_call.h"

#include <algorithm>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/norm/batch_norm_gpu.h"
#include "taper/ops/vendor/library_algorithms.h"

namespace taper::ops {
namespace {

constexpr size_t kMostNormEngines = 4;
constexpr double kOwnRank = 1, kEngineRank = 1.2;

std::vector<Tensor*> defined_among(std::initializer_list<Tensor*> tensors) {
  std::vector<Tensor*> defined;
  for (Tensor* tensor : tensors) {
    if (tensor->defined()) defined.push_back(tensor);
  }
  return defined;
}

// ------------------------------------------------------------------------------------------ operands

EngineOperands norm_operands(const BatchNormCall& call) {
  EngineOperands operands = {{Operand::kX, call.x},
                             {Operand::kWeight, call.weight},
                             {Operand::kBias, call.bias},
                             {Operand::kResidual, call.residual},
                             {Operand::kY, call.y},
                             {Operand::kMean, call.save_mean},
                             {Operand::kInvstd, call.save_invstd},
                             {Operand::kReluMask, call.relu_mask},
                             {Operand::kRunningMean, call.running_mean},
                             {Operand::kRunningVar, call.running_var}};
  operands.add(Operand::kEpsilon, call.options.eps);
  if (call.running_mean.defined()) operands.add(Operand::kMomentum, call.options.momentum);
  if (call.relu_mask.defined()) operands.add(Operand::kZero, 0.);
  return operands;
}

EngineOperands norm_backward_operands(const BatchNormBackwardCall& call) {
  return {{Operand::kGradY, call.grad},         {Operand::kX, call.x},
          {Operand::kReluMask, call.relu_mask}, {Operand::kWeight, call.weight},
          {Operand::kMean, call.save_mean},     {Operand::kInvstd, call.save_invstd},
          {Operand::kGradX, call.grad_x},       {Operand::kGradWeight, call.grad_weight},
          {Operand::kGradBias, call.grad_bias}, {Operand::kGradResidual, call.grad_residual}};
}

Shape image_shape(const Tensor& x) {
  return x.dim() == 4 ? x.shape() : Shape{x.size(0), x.size(1), 1, 1};
}

NormPattern norm_pattern_of(const BatchNormCall& call) {
  return {.pass = NormPass::kForward,
          .shape = image_shape(call.x),
          .dtype = call.x.dtype(),
          .residual = call.residual.defined(),
          .relu = call.options.relu,
          .mask = call.relu_mask.defined(),
          .running = call.running_mean.defined()};
}

NormPattern norm_pattern_of(const BatchNormBackwardCall& call) {
  return {.pass = NormPass::kBackward,
          .shape = image_shape(call.x),
          .dtype = call.x.dtype(),
          .residual = call.grad_residual.defined(),
          .relu = call.relu_mask.defined()};
}

// ---------------------------------------------------------------------------------------- candidates

/// Whether a library's operand can be this row of parameters or statistics.
bool is_f32_row(const Tensor& row) {
  return row.defined() && row.dtype() == kFloat32 && row.is_contiguous();
}

/// Whether to ask a library: it would compile for a while, so only where measured times decide.
bool is_norm_for_library(const Tensor& x, const Tensor& weight, const Tensor& relu_mask) {
  return algorithm_cache().mode() == AlgorithmMode::kBenchmark && x.dtype() != kFloat64 &&
         is_f32_row(weight) && (!relu_mask.defined() || x.size(1) % 8 == 0);
}

bool is_norm_for_library(const BatchNormCall& call) {
  const auto fits = [](const Tensor& row) { return !row.defined() || is_f32_row(row); };
  return is_norm_for_library(call.x, call.weight, call.relu_mask) && !call.moments.mean.defined() &&
         is_f32_row(call.bias) && fits(call.running_mean) && fits(call.running_var);
}

/// A buffer for the statistics that an engine updates, and the copy to their place. An engine may not
/// overwrite what it reads: nothing guarantees that it reads each element once.
class NextRunning {
 public:
  /// The buffer follows the engine's own `workspace_bytes`, aligned as cudaMalloc would align it.
  static size_t offset(size_t workspace_bytes) { return (workspace_bytes + 255) / 256 * 256; }
  static size_t size_bytes(const BatchNormCall& call) {
    return call.running_mean.defined() ? 2 * offset(call.running_mean.size_bytes()) : 0;
  }

  NextRunning(const BatchNormCall& call, void* workspace, size_t workspace_bytes)
      : call_(call), mean_(static_cast<std::byte*>(workspace) + offset(workspace_bytes)) {}

  void add_to(EngineOperands& operands) const {
    if (!call_.running_mean.defined()) return;
    operands.add(Operand::kNextRunningMean, mean_);
    operands.add(Operand::kNextRunningVar, var());
  }
  void store() const {
    if (!call_.running_mean.defined()) return;
    store(call_.running_mean, mean_);
    store(call_.running_var, var());
  }

 private:
  std::byte* var() const { return mean_ + offset(call_.running_mean.size_bytes()); }
  static void store(const Tensor& row, const std::byte* from) {
    gpu::copy_async(row.data_ptr(), from, row.size_bytes(), gpu::CopyKind::kDeviceToDevice,
                    gpu::current_stream(row.device().index));
  }

  const BatchNormCall& call_;
  std::byte* mean_;
};

/// The first engines for the pattern. They read or write the ReLU's mask, and we rely on cuDNN's
/// documentation for the order of its bits, so check it.
std::vector<Algorithm> norm_engines(const NormPattern& pattern, const Problem& problem) {
  std::vector<Algorithm> engines = library_algorithms(pattern, problem, kEngineRank);
  if (engines.size() > kMostNormEngines) engines.resize(kMostNormEngines);
  for (Algorithm& engine : engines) engine.always_verified = true;
  return engines;
}

/// Returns the engine with room for the running statistics after its own workspace.
Algorithm with_next_running(Algorithm engine, const BatchNormCall& call) {
  const size_t bytes = engine.workspace_bytes;
  if (call.running_mean.defined())
    engine.workspace_bytes = NextRunning::offset(bytes) + NextRunning::size_bytes(call);
  engine.run = [run = std::move(engine.run), bytes](const BatchNormCall& norm, void* workspace) {
    const NextRunning next(norm, workspace, bytes);
    EngineOperands operands = norm_operands(norm);
    next.add_to(operands);
    run(operands, bytes > 0 ? workspace : nullptr);
    next.store();
  };
  return engine;
}

Literal norm_epilogue(bool residual, bool relu) {
  if (residual) return relu ? Literal("add relu") : Literal("add");
  return relu ? Literal("relu") : Literal("none");
}

}  // namespace

// --------------------------------------------------------------------------------------------- calls

Problem BatchNormCall::problem() const {
  return Problem("batch_norm", "training", x.device())
      .add("x", x)
      .add("weight", weight)
      .add("bias", bias)
      .add("running", running_mean)
      .add("epilogue", norm_epilogue(residual.defined(), options.relu))
      .add("mask", {relu_mask.defined()})
      .add("moments", {moments.mean.defined()})
      .add("alignment", {norm_operands(*this).alignment()});
}

std::vector<Tensor*> BatchNormCall::outputs() {
  return defined_among({&y, &save_mean, &save_invstd, &relu_mask, &running_mean, &running_var});
}

Problem BatchNormBackwardCall::problem() const {
  return Problem("batch_norm", "backward", x.device())
      .add("x", x)
      .add("weight", weight)
      .add("epilogue", norm_epilogue(grad_residual.defined(), relu_mask.defined()))
      .add("alignment", {norm_backward_operands(*this).alignment()});
}

std::vector<Tensor*> BatchNormBackwardCall::outputs() {
  return defined_among({&grad_x, &grad_weight, &grad_bias, &grad_residual});
}

std::vector<Algorithm> batch_norm_algorithms(const BatchNormCall& call) {
  std::vector<Algorithm> list = {
      {.name = "chunks of rows", .rank = kOwnRank, .run = [](const BatchNormCall& norm, void*) {
         launch_batch_norm_training(norm);
       }}};
  if (!is_norm_for_library(call) || !norm_operands(call).are_aligned()) return list;
  for (Algorithm& engine : norm_engines(norm_pattern_of(call), call.problem()))
    list.push_back(with_next_running(std::move(engine), call));
  return list;
}

std::vector<Algorithm> batch_norm_backward_algorithms(const BatchNormBackwardCall& call) {
  std::vector<Algorithm> list = {
      {.name = "chunks of rows", .rank = kOwnRank, .run = [](const BatchNormBackwardCall& norm, void*) {
         launch_batch_norm_backward(norm);
       }}};
  if (!is_norm_for_library(call.x, call.weight, call.relu_mask) ||
      !norm_backward_operands(call).are_aligned())
    return list;
  append(list, translated<BatchNormBackwardCall>(norm_engines(norm_pattern_of(call), call.problem()),
                                                 norm_backward_operands));
  return list;
}

}  // namespace taper::ops
