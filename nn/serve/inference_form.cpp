#include "taper/nn/serve/inference_form.h"

#include "taper/nn/layers/constant_conv.h"

namespace taper {

InferenceForm::InferenceForm(Module& model) {
  for (const auto& [name, module] : model.named_modules()) {
    auto* const conv = dynamic_cast<Conv2d*>(module);
    if (conv) convolutions_.push_back(conv->make_constant_form());
  }
}

InferenceForm::~InferenceForm() = default;

}  // namespace taper
