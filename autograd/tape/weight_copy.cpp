#include "taper/autograd/tape/weight_copy.h"

#include "taper/autograd/tape/meta.h"
#include "taper/autograd/tape/stream_order.h"
#include "taper/autograd/tape/tape.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"

namespace taper::detail {
namespace {

/// Tensors made inside are usual ones, although the thread may be in inference mode.
struct NoInferenceMode {
  NoInferenceMode() : previous_(std::exchange(inference_mode_flag(), false)) {}
  ~NoInferenceMode() { inference_mode_flag() = previous_; }
  NoInferenceMode(const NoInferenceMode&) = delete;
  NoInferenceMode& operator=(const NoInferenceMode&) = delete;

 private:
  bool previous_;
};

bool is_current(const WeightCopy& kept, const Tensor& parameter) {
  return kept.version == parameter.version() && kept.storage.lock() == parameter.storage();
}

void set_current(WeightCopy& kept, const Tensor& parameter) {
  kept.storage = parameter.storage();
  kept.version = parameter.version();
  if (parameter.device().is_cuda()) kept.stream = gpu::current_stream(parameter.device().index);
}

/// Returns the copy as it is to be read on the current stream.
Tensor up_to_date_copy(const Tensor& parameter, DType dtype) {
  TapeMeta& own = ensure_meta(parameter);
  const std::lock_guard lock(own.mutex);
  if (!own.weight_copy) own.weight_copy = std::make_unique<WeightCopy>();
  WeightCopy& kept = *own.weight_copy;
  if (!kept.copy.defined() || kept.copy.dtype() != dtype || !is_current(kept, parameter)) {
    gpu::detail::refuse_in_capture(
        parameter.device(), "a weight's copy in low precision must be there before a graph is captured");
    const NoInferenceMode usual;
    kept.copy = ops::cast(parameter, dtype);
    set_current(kept, parameter);
  } else if (kept.stream) {
    hand_over(kept.copy, *kept.stream, gpu::current_stream(parameter.device().index));
  }
  return kept.copy;
}

}  // namespace

bool is_parameter(const Tensor& x) {
  const TapeMeta* own = meta(x);
  return own != nullptr && own->grad_fn == nullptr && !own->base.defined() && !x.impl()->is_inference;
}

Tensor weight_copy(const Tensor& parameter, DType dtype) {
  Tape tape("cast", {parameter}, {{"dtype", dtype}});
  tape.take_gradients_in(parameter.dtype());
  // A handle of its own for each use: the history belongs to the handle.
  return tape.record(views::alias(up_to_date_copy(parameter, dtype)), {},
                     [](const Backward& bw) -> Grads { return {bw.grad()}; });
}

Tensor current_weight_copy(const Tensor& parameter) {
  TapeMeta* own = meta(parameter);
  if (own == nullptr) return {};
  const std::lock_guard lock(own->mutex);
  const bool current = own->weight_copy && is_current(*own->weight_copy, parameter);
  return current ? own->weight_copy->copy : Tensor();
}

void renew_weight_copy(const Tensor& parameter) {
  TapeMeta& own = ensure_meta(parameter);
  const std::lock_guard lock(own.mutex);
  set_current(*own.weight_copy, parameter);
}

KeptWeightCopies::KeptWeightCopies(const std::vector<Tensor>& parameters) {
  for (const Tensor& parameter : parameters) {
    TapeMeta& own = ensure_meta(parameter);
    const std::lock_guard lock(own.mutex);
    all_.push_back({parameter, own.weight_copy ? own.weight_copy->copy : Tensor()});
  }
}

void KeptWeightCopies::restore() const {
  for (const auto& [parameter, copy] : all_) {
    TapeMeta& own = ensure_meta(parameter);
    const std::lock_guard lock(own.mutex);
    if (!own.weight_copy) continue;
    WeightCopy& kept = *own.weight_copy;
    if (!copy.defined()) {
      own.weight_copy = nullptr;
    } else if (!kept.copy.is_same(copy) || !is_current(kept, parameter)) {
      const NoInferenceMode usual;
      ops::copy_(copy, parameter);
      kept.copy = copy;
      set_current(kept, parameter);
    } else if (const gpu::Stream here = gpu::current_stream(parameter.device().index); kept.stream != here) {
      if (kept.stream) hand_over(copy, *kept.stream, here);
      kept.stream = here;
    }
  }
}

void KeptWeightCopies::renew() const {
  for (const auto& [parameter, copy] : all_)
    if (copy.defined()) renew_weight_copy(parameter);
}

}  // namespace taper::detail
