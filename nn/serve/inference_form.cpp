#include "taper/nn/serve/inference_form.h"

#include "taper/nn/serve/constant_conv.h"

namespace taper {

InferenceForm::InferenceForm(Module& model) : model_(model) {
  for (const auto& [name, module] : model.named_modules()) {
    const auto* const conv = dynamic_cast<Conv2d*>(module);
    if (conv) convolutions_[conv] = std::make_unique<ConstantConv>();
  }
}

InferenceForm::~InferenceForm() = default;

Tensor InferenceForm::operator()(const Tensor& x) const {
  auto* const layer = dynamic_cast<Layer*>(&model_);
  TAPER_CHECK(layer, "InferenceForm: {} is no Layer; call it within an InferenceForm::Scope",
              model_.type_name());
  TAPER_CHECK(!layer->is_training(), "InferenceForm: {} is in training mode; call its eval() first",
              model_.type_name());
  const Scope scope(*this);
  return (*layer)(x);
}

Tensor InferenceForm::run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
                          const BatchNormFusion& fusion) const {
  const auto found = convolutions_.find(&conv);
  if (found == convolutions_.end() || conv.is_training() || GradMode::is_enabled()) return {};
  return found->second->run(conv, norm, x, fusion);
}

}  // namespace taper
