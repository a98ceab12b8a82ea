#pragma once
// Streams during a backward pass. The gradient of an operation runs on the stream its forward ran on, because
// that is where the tensors it saved are safe to read; where a gradient passes from one stream to another,
// the second waits for the first. The pass as a whole behaves like one operation on the streams that were
// current when it began. PyTorch's counterparts: the stream handling in torch/csrc/autograd/engine.cpp and
// input_buffer.cpp.

#include <map>
#include <optional>
#include <vector>

#include "taper/autograd/tape/node.h"
#include "taper/core/gpu/runtime.h"

namespace taper {

namespace detail {
/// `x`, made on the stream `made_on`, will be used on `stream`, which waits for it. Of what a graph that is captured on `stream`
/// finds, whoever replays the graph takes care.
void hand_over(const Tensor& x, gpu::Stream made_on, gpu::Stream stream);
}  // namespace detail

/// For one backward pass, on one thread.
class StreamOrder {
 public:
  /// Makes a node's stream, if it has one, current for a scope.
  class Scope {
   public:
    explicit Scope(const std::optional<gpu::Stream>& stream) {
      if (stream) guard_.emplace(*stream);
    }

   private:
    std::optional<gpu::StreamGuard> guard_;
  };

  /// A stream that nodes of the pass run on. Called before the pass runs, outside all Scopes.
  void add(gpu::Stream stream);

  /// Where `node` takes gradients on `device`: its own stream, else the one current when the pass began.
  gpu::Stream stream_of(const Node& node, Device device) const;

  /// `grad`, made on the current stream of its device, will be used on `stream`.
  void hand_over(const Tensor& grad, gpu::Stream stream) const;

  /// The streams that were current when the pass began wait for all others.
  void join() const;

 private:
  std::map<int, gpu::Stream> home_;   // by device
  std::vector<gpu::Stream> visited_;  // other than home_
};

}  // namespace taper
