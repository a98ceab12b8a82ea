#include "taper/autograd/tape/graph_drawing.h"

#include <unordered_map>

#include "taper/autograd/tape/accumulate_grad.h"
#include "taper/autograd/tape/meta.h"

namespace taper {
namespace {

std::string leaf_label(const Tensor& leaf, const std::vector<std::pair<std::string, Tensor>>& names) {
  for (const auto& [name, tensor] : names) {
    if (tensor.is_same(leaf)) return fmt::format("{}\\n{}", name, leaf.shape());
  }
  return fmt::format("leaf\\n{}", leaf.shape());
}

}  // namespace

std::string to_dot(const Tensor& output, const std::vector<std::pair<std::string, Tensor>>& names) {
  TAPER_CHECK(output.requires_grad(),
              "to_dot: the tensor does not require a gradient, so there is no graph behind it");
  std::string text = "digraph tape {\n  rankdir=TB;\n  node [fontname=\"Helvetica\", fontsize=11];\n";
  std::unordered_map<const Node*, size_t> ids;
  std::vector<std::shared_ptr<Node>> order;
  const auto id_of = [&](const std::shared_ptr<Node>& node) {
    const auto [entry, is_new] = ids.try_emplace(node.get(), ids.size());
    if (is_new) order.push_back(node);
    return entry->second;
  };
  text += fmt::format("  output [shape=plaintext, label=\"output\\n{}\"];\n", output.shape());
  text += fmt::format("  n{} -> output;\n", id_of(detail::gradient_edge(output).node));
  for (size_t i = 0; i < order.size(); ++i) {
    const std::shared_ptr<Node> node = order[i];
    if (const auto* accumulate = dynamic_cast<const AccumulateGrad*>(node.get())) {
      text += fmt::format("  n{} [shape=ellipse, style=filled, fillcolor=\"#dceefb\", label=\"{}\"];\n", i,
                          leaf_label(accumulate->leaf(), names));
      continue;
    }
    std::string shapes;
    for (const OutputInfo& info : node->outputs()) shapes += fmt::format("\\n{}", info.shape);
    text += fmt::format("  n{} [shape=box, style=rounded, label=\"{}{}\"];\n", i, node->call(), shapes);
    for (const Edge& edge : node->next_edges()) {
      if (edge.node) text += fmt::format("  n{} -> n{};\n", id_of(edge.node), i);
    }
  }
  return text + "}\n";
}

}  // namespace taper
