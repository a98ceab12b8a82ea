#pragma once
// A model's structure: one line per module with its output shape, its parameters and the arithmetic of one
// forward pass. PyTorch has no counterpart of its own; its users know the package torchinfo.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "taper/nn/layer.h"

namespace taper {

struct ModuleSummary {
  struct Row {
    std::string name;  ///< dotted path; "" for the model itself
    std::string type;
    int depth = 0;            ///< 0 for the model itself
    bool is_layer = false;    ///< only layers show their calls, shapes and arithmetic
    bool called = false;      ///< false for a layer that never ran; its shape is empty
    Shape output_shape = {};  ///< of the last call
    int64_t parameters = 0;   ///< its own, without its parts' parameters
    int64_t flops = 0;        ///< its own, over all calls
  };
  std::vector<Row> rows;             ///< parents before children, in order of registration
  std::optional<Shape> input_shape;  ///< empty unless summary() made the input
  int64_t parameters = 0;            ///< in the whole model, shared ones once
  int64_t trainable_parameters = 0;  ///< those that require a gradient
  int64_t flops = 0;                 ///< in the whole model; a multiply-add counts as two

  /// Returns the table as text: a line for each module, and a line with the totals.
  std::string str() const;
};

/// Runs `layer` once, in evaluation mode and without recording, on zeros of `input_shape` in the dtype and on
/// the device of its first parameter. Leaves the layer as it was. Throws what forward() throws.
ModuleSummary summary(Layer& layer, const Shape& input_shape);

/// Calls `run`, which calls `module` in its own way, in evaluation mode and without recording:
/// summary(towers, [&] { towers(a, b); }). Leaves the module as it was. Throws what `run` throws.
ModuleSummary summary(Module& module, const std::function<void()>& run);

}  // namespace taper
