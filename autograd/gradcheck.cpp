#include "taper/autograd/gradcheck.h"

#include <cmath>

#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/philox.h"

namespace taper {
namespace {

void check_inputs(const std::vector<Tensor>& inputs) {
  bool any = false;
  for (const Tensor& input : inputs) {
    if (!input.defined() || !input.requires_grad()) continue;
    any = true;
    TAPER_CHECK(input.dtype() == kFloat64 && input.is_leaf() && input.is_dense(),
                "gradcheck: inputs that require a gradient must be dense f64 leaves, got {} of shape {}",
                input.dtype(), input.shape());
  }
  TAPER_CHECK(any, "gradcheck: no input requires a gradient");
}

std::vector<double> values(const Tensor& x) {
  return ops::to_vector<double>(x);
}

/// d outputs / d input element `j` by central differences: one vector per output.
std::vector<std::vector<double>> numeric_column(const TensorsFunction& function,
                                                const std::vector<Tensor>& inputs, const Tensor& input,
                                                const Dims& position, double eps) {
  const NoGradGuard no_grad;
  Tensor element = input.detach();
  for (const int64_t index : position) element = element.select(0, index);
  const double original = element.item();
  // Read before the next write: an output may share memory with the input.
  const auto outputs_at = [&](double value) {
    element.fill_(value);
    std::vector<std::vector<double>> outputs;
    for (const Tensor& y : function(inputs)) outputs.push_back(values(y));
    return outputs;
  };
  std::vector<std::vector<double>> result = outputs_at(original + eps);
  const std::vector<std::vector<double>> below = outputs_at(original - eps);
  element.fill_(original);
  for (size_t i = 0; i < below.size(); ++i) {
    for (size_t k = 0; k < below[i].size(); ++k) result[i][k] = (result[i][k] - below[i][k]) / (2 * eps);
  }
  return result;
}

/// The row-major index as one index per axis.
Dims unravel(int64_t index, const Shape& shape) {
  Dims position = shape;
  for (int64_t axis = shape.size() - 1; axis >= 0; --axis) {
    position[axis] = index % shape[axis];
    index /= shape[axis];
  }
  return position;
}

}  // namespace

bool gradcheck(const TensorsFunction& function, const std::vector<Tensor>& inputs, GradcheckOptions options) {
  check_inputs(inputs);
  std::vector<Tensor> wanted;
  for (const Tensor& input : inputs) {
    if (input.defined() && input.requires_grad()) wanted.push_back(input);
  }
  // Analytic rows: rows[output][element] = the gradients of that element with respect to `wanted`.
  const std::vector<Tensor> outputs = function(inputs);
  std::vector<std::vector<std::vector<std::vector<double>>>> rows;
  for (const Tensor& output : outputs) {
    rows.emplace_back();
    for (int64_t k = 0; k < output.numel(); ++k) {
      std::vector<double> one_hot(size_t(output.numel()), 0.0);
      one_hot[size_t(k)] = 1;
      rows.back().emplace_back();
      if (!output.requires_grad()) {
        for (const Tensor& input : wanted) rows.back().back().emplace_back(size_t(input.numel()), 0.0);
        continue;
      }
      const Tensor seed = from_vector(one_hot, output.shape()).to(output.dtype()).to(output.device());
      for (const Tensor& g : grad({output}, wanted, {seed}, {.retain_graph = true, .allow_unused = true})) {
        const size_t count = size_t(wanted[rows.back().back().size()].numel());
        rows.back().back().push_back(g.defined() ? values(g) : std::vector<double>(count, 0.0));
      }
    }
  }
  for (size_t input = 0; input < wanted.size(); ++input) {
    for (int64_t j = 0; j < wanted[input].numel(); ++j) {
      const auto columns =
          numeric_column(function, inputs, wanted[input], unravel(j, wanted[input].shape()), options.eps);
      for (size_t output = 0; output < columns.size(); ++output) {
        for (size_t k = 0; k < columns[output].size(); ++k) {
          const double numeric = columns[output][k];
          const double analytic = rows[output][k][input][size_t(j)];
          // Written so that NaN on either side fails.
          TAPER_CHECK(
              std::abs(analytic - numeric) <= options.atol + options.rtol * std::abs(numeric),
              "gradcheck: d output {}[{}] / d input {}[{}] is {:.9g} by the tape and {:.9g} by finite "
              "differences",
              output, k, input, j, analytic, numeric);
        }
      }
    }
  }
  return true;
}

bool gradcheck(const TensorFunction& function, const std::vector<Tensor>& inputs, GradcheckOptions options) {
  return gradcheck([&](const std::vector<Tensor>& x) { return std::vector<Tensor>{function(x)}; }, inputs,
                   options);
}

bool gradgradcheck(const TensorFunction& function, const std::vector<Tensor>& inputs,
                   GradcheckOptions options) {
  check_inputs(inputs);
  const Tensor output = function(inputs);
  std::vector<double> weights;
  for (int64_t i = 0; i < output.numel(); ++i) {
    const auto bits = Philox{.seed = 20}(uint64_t(i));
    weights.push_back(2 * uniform_double(bits[0], bits[1]) - 1);
  }
  Tensor seed = from_vector(weights, output.shape()).to(output.device());
  seed.set_requires_grad();
  std::vector<Tensor> extended = inputs;
  extended.push_back(seed);
  const TensorsFunction gradient = [&](const std::vector<Tensor>& x) {
    const EnableGradGuard recording;
    const std::vector<Tensor> own(x.begin(), x.end() - 1);
    std::vector<Tensor> wanted;
    for (const Tensor& input : own) {
      if (input.defined() && input.requires_grad()) wanted.push_back(input);
    }
    std::vector<Tensor> result;
    for (const Tensor& g :
         grad({function(own)}, wanted, {x.back()}, {.create_graph = true, .allow_unused = true})) {
      if (g.defined()) result.push_back(g);
    }
    return result;
  };
  return gradcheck(gradient, extended, options);
}

}  // namespace taper
