#pragma once
// What a model is made of: one line per module with the shape it puts out, its parameters and the arithmetic
// of one forward pass. PyTorch has no counterpart of its own; users know the package torchinfo.

#include <string>
#include <vector>

#include "taper/nn/module.h"

namespace taper {

struct ModuleSummary {
  struct Row {
    std::string name;  ///< dotted path; "" for the model itself
    std::string type;
    int depth = 0;            ///< 0 for the model itself
    bool called = false;      ///< false for modules that forward() never ran; their shape is empty
    Shape output_shape = {};  ///< of the last call
    int64_t parameters = 0;   ///< of its own, without its parts'
    int64_t flops = 0;        ///< of its own, over all calls
  };
  std::vector<Row> rows;  ///< parents before children, in order of registration
  Shape input_shape;
  int64_t parameters = 0;            ///< in all, shared ones once
  int64_t trainable_parameters = 0;  ///< those that require a gradient
  int64_t flops = 0;                 ///< in all; a multiply-add counts as two

  /// The table as text, one line a module and the totals below.
  std::string str() const;
};

/// Runs `module` once, in evaluation mode and unseen by the tape, on zeros of `input_shape` in the dtype and
/// on the device of its first parameter. The module is left as it was. Throws what forward() throws.
ModuleSummary summary(Module& module, const Shape& input_shape);

}  // namespace taper
