#include "taper/nn/train/captured_step.h"

#include <algorithm>

#include "taper/core/write_log.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

constexpr size_t kMostKinds = 4;

/// Ends the capture if nothing else does.
class CaptureScope {
 public:
  explicit CaptureScope(gpu::Stream stream) : stream_(stream) { gpu::begin_capture(stream); }
  ~CaptureScope() { gpu::abandon_capture(stream_); }
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;

  gpu::Graph end() { return gpu::end_capture(stream_); }

 private:
  gpu::Stream stream_;
};

}  // namespace

CapturedStep::CapturedStep(Step step, std::vector<Tensor> parameters, int warmup)
    : step_(std::move(step)), parameters_(std::move(parameters)), warmup_(warmup) {
  TAPER_CHECK(!parameters_.empty(), "CapturedStep: needs the parameters that the step updates");
  TAPER_CHECK(warmup >= 1, "CapturedStep: warmup must be at least 1, got {}", warmup);
}

CapturedStep::~CapturedStep() {
  try {
    give_up({});
  } catch (const Error&) {  // the device is lost, and the memory with it
  }
}

std::vector<Tensor> CapturedStep::operator()(const std::vector<Tensor>& inputs) {
  if (parameters_[0].device().is_cpu() || gave_up_) return run(inputs);
  if (kinds_.empty()) device_ = parameters_[0].device();
  for (const Tensor& input : inputs)
    TAPER_CHECK(input.device() == device_, "CapturedStep: an input is on {}, the parameters are on {}",
                input.device(), device_);
  Kind& kind = kind_of(inputs);
  if (kind.refused) return run(inputs);
  if (kind.calls < warmup_) {
    ++kind.calls;
    std::vector<Tensor> outputs = run(inputs);
    kind.weight_copies.emplace(parameters_);
    return outputs;
  }
  if (!kind.graph) capture(kind, inputs);
  return kind.refused ? run(inputs) : replay(kind, inputs);
}

CapturedStep::Kind& CapturedStep::kind_of(const std::vector<Tensor>& inputs) {
  const auto has_form = [](const Form& form, const Tensor& x) {
    return form.shape == x.shape() && form.dtype == x.dtype() && form.format == x.memory_format();
  };
  const auto kind = std::ranges::find_if(
      kinds_, [&](const Kind& one) { return std::ranges::equal(one.forms, inputs, has_form); });
  if (kind != kinds_.end()) {
    kinds_.splice(kinds_.begin(), kinds_, kind);
    return kinds_.front();
  }
  if (kinds_.size() == kMostKinds) {
    wait();
    if (last_ == &kinds_.back()) last_ = nullptr;
    kinds_.pop_back();
  }
  Kind& added = kinds_.emplace_front();
  for (const Tensor& x : inputs) added.forms.push_back({x.shape(), x.dtype(), x.memory_format()});
  return added;
}

void CapturedStep::wait() const {
  if (graph_count() > 0) gpu::synchronize(device_.index);
}

void CapturedStep::give_up(const std::string& reason) {
  wait();
  gave_up_ = true;
  refusal_ = reason;
  last_ = nullptr;
  kinds_.clear();
  pool_ = nullptr;
}

std::vector<Tensor> CapturedStep::run(const std::vector<Tensor>& inputs) {
  last_ = nullptr;
  return step_(inputs);
}

void CapturedStep::capture(Kind& kind, const std::vector<Tensor>& inputs) {
  const std::vector<Tensor> grads_before = grads();
  const auto restore = [&] {
    kind.outputs = kind.inputs = {};
    kind.draws.reset();
    set_grads(grads_before);
    kind.weight_copies->restore();
  };
  try {
    // A copy that were made in the capture would lie where other graphs of the pool write.
    kind.weight_copies->restore();
    if (!stream_) stream_ = gpu::stream_from_pool(device_.index);
    if (!pool_) pool_ = std::make_unique<gpu::MemoryPool>(gpu::caching_allocator(device_.index));
    for (const Tensor& input : inputs) kind.inputs.push_back(empty_like(input));
    kind.draws.emplace(device_);
    // Nothing runs, so the stream need not wait for others.
    const gpu::StreamGuard guard(*stream_);
    const gpu::MemoryPoolGuard pool_guard(*pool_);
    CaptureScope scope(*stream_);
    const ops::GraphDraws::Recording recording(*kind.draws);
    const WriteLog log;
    kind.outputs = step_(kind.inputs);
    kind.graph = scope.end();
    kind.written = log.written();
  } catch (const CaptureError& error) {
    restore();
    return refuse(kind, error.what());
  } catch (const OutOfMemoryError&) {
    restore();
    return refuse(kind, "a graph needs memory of its own beside what is in use, and there is not enough");
  } catch (...) {
    restore();
    throw;
  }
  kind.grads = grads();
  last_ = &kind;
}

void CapturedStep::refuse(Kind& kind, const std::string& reason) {
  kind.refused = true;
  if (refusal_.empty()) refusal_ = reason;
  if (graph_count() == 0) pool_ = nullptr;
}

std::vector<Tensor> CapturedStep::replay(Kind& kind, const std::vector<Tensor>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) ops::copy_(kind.inputs[i], inputs[i]);
  kind.weight_copies->restore();
  kind.draws->publish();
  if (last_ != &kind) set_grads(kind.grads);
  last_ = &kind;
  kind.graph->replay(gpu::current_stream(device_.index));
  for (const std::shared_ptr<Storage>& storage : kind.written) storage->bump_version();
  kind.weight_copies->renew();
  ++replays_;
  return kind.outputs;
}

std::vector<Tensor> CapturedStep::grads() const {
  std::vector<Tensor> all;
  for (const Tensor& parameter : parameters_) all.push_back(parameter.grad());
  return all;
}

void CapturedStep::set_grads(const std::vector<Tensor>& grads) const {
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].set_grad(grads[i]);
}

size_t CapturedStep::graph_count() const {
  return size_t(std::ranges::count_if(kinds_, [](const Kind& kind) { return kind.graph.has_value(); }));
}

size_t CapturedStep::node_count() const {
  return last_ == nullptr ? 0 : last_->graph->node_count();
}

}  // namespace taper
