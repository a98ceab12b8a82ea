#include "taper/nn/report/tensorboard/graph_def.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace taper {
namespace {

// DataType of tensorflow/core/framework/types.proto.
int tensorflow_type(DType dtype) {
  switch (dtype) {
    case kFloat32:
      return 1;
    case kFloat64:
      return 2;
    case kInt32:
      return 3;
    case kUInt8:
      return 4;
    case kInt64:
      return 9;
    case kBool:
      return 10;
    case kBFloat16:
      return 14;
    case kFloat16:
      return 19;
  }
  return 0;
}

ProtoMessage shape_proto(const Shape& shape) {
  ProtoMessage message;
  for (const int64_t size : shape) message.message(2, ProtoMessage().integer(1, size));
  return message;
}

/// A NodeDef under way.
class NodeDef {
 public:
  NodeDef(const std::string& name, std::string_view op) { message_.text(1, name).text(2, op); }

  void input(const std::string& name) { message_.text(3, name); }
  void attribute(std::string_view name, const ProtoMessage& value) {
    message_.message(5, ProtoMessage().text(1, name).message(2, value));
  }
  /// Says what the node makes.
  void outputs(const std::vector<TracedTensor>& tensors) {
    ProtoMessage shapes;
    for (const TracedTensor& tensor : tensors) shapes.message(7, shape_proto(tensor.shape));
    attribute("_output_shapes", ProtoMessage().message(1, shapes));
    if (!tensors.empty()) attribute("T", ProtoMessage().integer(6, tensorflow_type(tensors[0].dtype)));
  }
  const ProtoMessage& message() const { return message_; }

 private:
  ProtoMessage message_;
};

/// "layer1.0.conv1.weight" becomes "layer1/0/conv1/weight".
std::string as_path(std::string name) {
  std::ranges::replace(name, '.', '/');
  return name;
}

/// What a model calls a tensor.
struct ModelTensor {
  std::string name;
  const char* kind;  ///< "Parameter" or "Buffer"
};
using ModelTensors = std::unordered_map<int, ModelTensor>;  // by tensor number

class GraphWriter {
 public:
  explicit GraphWriter(ModelTensors model) : model_(std::move(model)) {}

  void add(const TracedOp& op);
  ProtoMessage finish() { return std::move(graph_.message(4, ProtoMessage().integer(1, 22))); }

 private:
  /// Returns the node that made the tensor. A tensor that no op made gets a node of its own.
  const std::string& source(const TracedTensor& tensor, std::string_view role);
  /// Returns the path of the module whose parameters the op reads, with a slash behind it; "" for none.
  std::string module_of(const TracedOp& op) const;
  std::string unused(const std::string& name);

  ProtoMessage graph_;
  ModelTensors model_;
  std::unordered_map<int, std::string> sources_;  ///< nodes by tensor number
  std::map<std::string, int> uses_;               ///< of each name
};

std::string GraphWriter::unused(const std::string& name) {
  const int uses = uses_[name]++;
  return uses == 0 ? name : fmt::format("{}_{}", name, uses);
}

const std::string& GraphWriter::source(const TracedTensor& tensor, std::string_view role) {
  const auto [entry, is_new] = sources_.try_emplace(tensor.tensor);
  if (!is_new) return entry->second;
  const auto known = model_.find(tensor.tensor);
  entry->second = unused(known != model_.end() ? as_path(known->second.name) : std::string(role));
  NodeDef node(entry->second, known != model_.end() ? known->second.kind : "Input");
  node.outputs({tensor});
  graph_.message(1, node.message());
  return entry->second;
}

std::string GraphWriter::module_of(const TracedOp& op) const {
  for (const TracedTensor& input : op.inputs) {
    const auto known = model_.find(input.tensor);
    if (known == model_.end()) continue;
    const size_t dot = known->second.name.rfind('.');
    if (dot != std::string::npos) return as_path(known->second.name.substr(0, dot + 1));
  }
  return {};
}

void GraphWriter::add(const TracedOp& op) {
  const std::string name = unused(module_of(op) + std::string(op.name));
  NodeDef node(name, op.name);
  for (const TracedTensor& input : op.inputs)
    if (input.tensor >= 0) node.input(source(input, "input"));
  for (const auto& [role, input] : op.others)
    if (input.tensor >= 0) node.input(source(input, role));
  for (const NamedOption& option : op.options)
    if (!option.is_usual) node.attribute(option.name, ProtoMessage().text(2, to_text(option)));
  node.outputs(op.outputs);
  graph_.message(1, node.message());
  for (size_t i = 0; i < op.outputs.size(); ++i)
    sources_[op.outputs[i].tensor] = i == 0 ? name : fmt::format("{}:{}", name, i);
  // Autocast's copy of a parameter stands for it.
  if (op.inputs.size() != 1 || op.outputs.size() != 1) return;
  const auto known = model_.find(op.inputs[0].tensor);
  if (known != model_.end()) model_.try_emplace(op.outputs[0].tensor, ModelTensor(known->second));
}

}  // namespace

ProtoMessage graph_def(const OpTrace& trace, const Module& model) {
  ModelTensors tensors;
  const auto add = [&](const NamedTensors& named, const char* kind) {
    for (const auto& [name, tensor] : named)
      if (const int number = trace.number(tensor); number >= 0) tensors[number] = {name, kind};
  };
  add(model.named_parameters(), "Parameter");
  add(model.named_buffers(), "Buffer");
  GraphWriter writer(std::move(tensors));
  for (const TracedOp& op : trace.ops()) {
    if (!op.within.empty()) break;
    writer.add(op);
  }
  return writer.finish();
}

}  // namespace taper
