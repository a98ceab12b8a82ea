#pragma once
// The form in which a trained model is served. While an InferenceForm of a model lives, the model's
// convolutions, in evaluation and where nothing is recorded, keep what their kernels make of the weights from
// call to call, and take the batch norm after them into weight and bias, so that convolution, normalisation,
// residual and ReLU are one pass over memory.
//
//   model.load_state_dict(load_safetensors(file).tensors_for(model.state_dict()));
//   model.eval();
//   const InferenceForm form(model);
//   const NoGradGuard no_grad;
//   model(pictures);
//
// The model stays what it is: parameters, names and files do not change, and training goes on as before in
// training mode. Nor can results go stale: what is kept is made anew when a parameter or a running statistic
// was written to. (A replayed CUDA graph writes without telling; begin a new InferenceForm after it.) Results
// differ from the ordinary ones by rounding. A module with hooks runs as usual.
//
// PyTorch's counterparts: torch.nn.utils.fusion.fuse_conv_bn_eval and torch.jit.optimize_for_inference, which
// make a new model that keeps the old weights.

#include <memory>
#include <vector>

namespace taper {

class ConstantConv;
class Module;

class InferenceForm {
 public:
  explicit InferenceForm(Module& model);
  ~InferenceForm();
  InferenceForm(const InferenceForm&) = delete;
  InferenceForm& operator=(const InferenceForm&) = delete;

 private:
  std::vector<std::shared_ptr<ConstantConv>> convolutions_;  // the layers only refer to them
};

}  // namespace taper
