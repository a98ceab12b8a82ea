#pragma once
// The recorded graph as a picture. Render with: dot -Tsvg graph.dot -o graph.svg. As the PyTorch package
// torchviz does.

#include <string>
#include <utility>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// The graph behind `output` in Graphviz's language: boxes for operations with the shapes they made, ellipses
/// for leaves, named where `names` has them. Arrows run as gradients do in reverse: from leaves to the
/// output.
std::string to_dot(const Tensor& output, const std::vector<std::pair<std::string, Tensor>>& names = {});

}  // namespace taper
