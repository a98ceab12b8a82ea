#pragma once
// The recorded graph as a drawing. Render with: dot -Tsvg graph.dot -o graph.svg. As the PyTorch package
// torchviz does.

#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// Returns the graph behind `output` in Graphviz's language: boxes for operations with the shapes they made,
/// ellipses for leaves, named where `names` has them. Arrows run from the leaves to the output. Operations
/// that were recorded in anomaly mode show their arguments and options.
std::string to_dot(const Tensor& output, const std::vector<std::pair<std::string, Tensor>>& names = {});

}  // namespace taper
