#pragma once
// CapturedStep: the work of a training step as one graph. The first calls run the step as usual. Then its work is captured:
// forward, backward, clipping, scaler, optimiser. From there on a call copies the inputs to where the graph reads them, and
// replays the graph. The host enqueues one thing instead of some thousand. PyTorch's counterpart: torch/cuda/graphs.py and
// ATen/cuda/CUDAGraph.cpp.
//
//   CapturedStep step([&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
//     optimizer.zero_grad();
//     const Tensor loss = cross_entropy(model(in[0]), in[1]);
//     loss.backward();
//     optimizer.step();
//     return {loss.detach()};
//   }, optimizer.parameters());
//   for (...) {
//     optimizer.publish_lr();
//     const Tensor loss = step({images, labels})[0];  // the next call overwrites it
//   }
//
// TrainStep does this with TrainStepOptions::capture. docs/16-a-step-without-a-host.md tells how it works.

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "taper/autograd/tape/weight_copy.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"
#include "taper/ops/random/graph_draws.h"

namespace taper {

class CapturedStep {
 public:
  /// Does the whole step and returns what the caller wants to read of it. A replay repeats its work on the GPU and nothing
  /// else: what it does on the host, it does in the warm-up and in the capture alone. It must give the same results if it is
  /// called again after an exception.
  using Step = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

  /// parameters: all whose gradients the step computes. After each call their grad() is what this call computed.
  /// warmup: so many calls with inputs of a kind run as they are, at least one; then the kind's graph is captured.
  CapturedStep(Step step, std::vector<Tensor> parameters, int warmup = 2);
  /// Waits for replays that are under way. Memory goes back as soon as nobody holds outputs and gradients.
  ~CapturedStep();
  CapturedStep(const CapturedStep&) = delete;
  CapturedStep& operator=(const CapturedStep&) = delete;

  /// Runs the step, or replays its graph on the current stream. A graph is for inputs of the same shapes, dtypes and memory
  /// formats. They must be on the parameters' device. On the CPU, and if it cannot be captured, the step runs as it is each
  /// time; see refusal(). Throws what the step throws, but no CaptureError, and no OutOfMemoryError of a capture.
  std::vector<Tensor> operator()(const std::vector<Tensor>& inputs);

  /// Runs the step as it is from now on, whatever the inputs; `reason` is what refusal() says.
  void give_up(const std::string& reason);

  /// Returns why inputs of some kind are not replayed; empty as long as nothing speaks against it.
  const std::string& refusal() const { return refusal_; }
  /// Returns the number of graphs that are kept, at most four. For another kind of inputs the one that was not used for
  /// longest goes.
  size_t graph_count() const;
  /// Returns the number of kernels, copies and fills of the graph that ran last; 0 if the last call was no replay.
  size_t node_count() const;
  int64_t replays() const { return replays_; }

 private:
  /// What tells one kind of inputs from another.
  struct Form {
    Shape shape;
    DType dtype;
    MemoryFormat format;
    bool operator==(const Form&) const = default;
  };
  /// What is kept for inputs of a kind.
  struct Kind {
    std::vector<Form> forms;
    int calls = 0;
    bool refused = false;
    std::optional<gpu::Graph> graph = {};
    std::vector<Tensor> inputs = {};  ///< where the graph reads them
    std::optional<ops::GraphDraws> draws = {};
    std::optional<detail::KeptWeightCopies> weight_copies = {};  ///< of the last warm-up
    std::vector<std::shared_ptr<Storage>> written = {};          ///< by each replay
    std::vector<Tensor> outputs = {}, grads = {};
  };

  Kind& kind_of(const std::vector<Tensor>& inputs);
  void wait() const;
  std::vector<Tensor> run(const std::vector<Tensor>& inputs);
  void capture(Kind& kind, const std::vector<Tensor>& inputs);
  void refuse(Kind& kind, const std::string& reason);
  std::vector<Tensor> replay(Kind& kind, const std::vector<Tensor>& inputs);
  std::vector<Tensor> grads() const;
  void set_grads(const std::vector<Tensor>& grads) const;

  Step step_;
  std::vector<Tensor> parameters_;
  int warmup_;
  Device device_;                          ///< of the parameters
  std::optional<gpu::Stream> stream_;      ///< for captures
  std::unique_ptr<gpu::MemoryPool> pool_;  ///< of all graphs: no two run at the same time
  std::list<Kind> kinds_;                  ///< the one that was used last comes first
  const Kind* last_ = nullptr;             ///< what the last call replayed; null if it ran the step
  int64_t replays_ = 0;
  bool gave_up_ = false;
  std::string refusal_;
};

}  // namespace taper
