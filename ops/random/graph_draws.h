#pragma once
// Random numbers in a captured graph. Kernels of a graph are replayed with the arguments that they were captured with, so a
// counter among the arguments would give the same numbers each time. Instead they get the counter's distance from a base in
// device memory, and before each replay the base is set to where the generator stands:
//
//   captured     dropout(base + 0)  dropout(base + 9000)  ...                 18000 counters in all
//   replay       base = generator.reserve(18000), then the graph
//
// So a replay draws what the same ops would have drawn without a graph. PyTorch's counterpart: philox_cuda_state in
// ATen/cuda/CUDAGeneratorImpl.h.

#include <vector>

#include "taper/core/draw_log.h"
#include "taper/core/tensor.h"

namespace taper::ops {

/// Belongs to one graph.
class GraphDraws {
 public:
  /// Make it before the capture, and keep it as long as the graph. device: the GPU of the graph.
  explicit GraphDraws(Device device);

  /// While it lives, what this thread draws on the GPU goes into the graph. Throws CaptureError for numbers that are drawn on
  /// the CPU, which no replay would draw again, and for more than four generators.
  class Recording final : public DrawLog::Scope {
   public:
    explicit Recording(GraphDraws& draws) : draws_(draws) {}

   private:
    DrawnRange draw(Generator& generator, uint64_t blocks, Device device) override;
    GraphDraws& draws_;
  };

  /// Takes as many numbers from each generator as the graph draws, and enqueues on the current stream that the next replay
  /// draws these. The generators must still exist.
  void publish();

 private:
  struct Source {
    Generator* generator;
    uint64_t blocks = 0;
  };

  GeneratorState* base() const;

  Tensor bases_;  ///< [4, 2] i64: a GeneratorState for each source
  std::vector<Source> sources_;
};

}  // namespace taper::ops
