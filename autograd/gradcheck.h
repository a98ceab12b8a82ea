#pragma once
// Gradients checked against central finite differences in f64. PyTorch's counterpart:
// torch/autograd/gradcheck.py.

#include <functional>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

struct GradcheckOptions {
  double eps = 1e-6;   ///< step of the finite difference
  double atol = 1e-5;  ///< |analytic - numeric| <= atol + rtol * |numeric|
  double rtol = 1e-3;
};

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;
using TensorsFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

/// Compares the Jacobian that the tape gives with finite differences, element by element, for every input
/// that requires a gradient. Inputs must be f64, dense leaves. Returns true; throws Error describing the
/// first mismatch: which output and input element, both values.
bool gradcheck(const TensorFunction& function, const std::vector<Tensor>& inputs,
               GradcheckOptions options = {});
bool gradcheck(const TensorsFunction& function, const std::vector<Tensor>& inputs,
               GradcheckOptions options = {});

/// gradcheck of the gradient itself (create_graph), with respect to the inputs and to the output's gradient.
bool gradgradcheck(const TensorFunction& function, const std::vector<Tensor>& inputs,
                   GradcheckOptions options = {});

}  // namespace taper
