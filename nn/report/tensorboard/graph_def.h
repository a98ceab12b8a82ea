#pragma once
// The graph that the tape saw, for TensorBoard's page of graphs: ops, parameters and inputs, in boxes named
// after the modules. The messages: tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto.

#include "taper/autograd/tape/op_trace.h"
#include "taper/nn/module.h"
#include "taper/nn/report/tensorboard/protobuf.h"

namespace taper {

/// Returns the GraphDef of the trace's ops up to its first gradient. An op that reads a parameter of `model`
/// stands in the box of the parameter's module: "layer1.0.conv1.weight" puts it in layer1/0/conv1.
ProtoMessage graph_def(const OpTrace& trace, const Module& model);

}  // namespace taper
