#pragma once
// The form in which a trained model is served. Its convolutions keep prepacked weights from call to call, and
// take the batch norm after them (as conv_batch_norm() calls the pair) into weight and bias. Convolution,
// normalisation, residual and ReLU then are one pass over memory.
//
//   model.load_state_dict(load_safetensors(file).tensors_for(model.state_dict()));
//   model.eval();
//   const InferenceForm form(model);
//   form(images);                                 // a Layer
//
//   const InferenceForm::Scope scope(form);       // any model, however it is called
//   model(left, right);
//
// The model itself does not change: neither its parameters nor their names nor its files. Results are never
// stale: weights are prepared anew when a parameter or running statistic was written, by a CapturedStep as well.
// (A graph that is replayed by hand writes without a trace.) Results differ from the usual ones by rounding.
// Layers run as usual in training mode, where something is recorded, and while they have hooks.
//
// PyTorch makes a second model instead. torch.nn.utils.fusion.fuse_conv_bn_eval copies a pair into a new
// module. torch.jit.optimize_for_inference freezes a scripted model, then folds and prepacks its graph. Both
// keep the weights of that moment.

#include <memory>
#include <unordered_map>

#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/layers/conv_runner.h"

namespace taper {

class ConstantConv;

/// Thread-safe: several threads may share one form.
class InferenceForm : private ConvRunner {
 public:
  /// `model` must outlive the form.
  explicit InferenceForm(Module& model);
  ~InferenceForm() override;
  InferenceForm(const InferenceForm&) = delete;
  InferenceForm& operator=(const InferenceForm&) = delete;

  /// Serves the model's calls of this thread, which record nothing, until scope end.
  class Scope {
   public:
    explicit Scope(const InferenceForm& form) : runner_(form) {}

   private:
    NoGradGuard no_grad_;
    ConvRunner::Scope runner_;
  };

  /// Returns model(x) as called within a Scope. Throws Error if the model is in training mode, or no Layer.
  Tensor operator()(const Tensor& x) const;

 private:
  Tensor run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
             const BatchNormFusion& fusion) const override;

  Module& model_;
  std::unordered_map<const Conv2d*, std::unique_ptr<ConstantConv>> convolutions_;  ///< all of the model's
};

}  // namespace taper
