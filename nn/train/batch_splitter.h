#pragma once
// BatchSplitter: what a step does about a batch that does not fit in memory. It computes the batch in halves, or in
// halves of these, down to single images, and adds their gradients up to those of the batch's mean loss.
//
//   BatchSplitter splitter(model);
//   TrainStep step(classification_loss(model), optimizer, {.splitter = &splitter});
//
// Layers that look at a whole batch, as batch norm does, see the parts. A part's loss weighs as much as it has
// images, so the loss must be a mean over images. PyTorch has no counterpart; Lightning's BatchSizeFinder and
// Composer's `device_train_microbatch_size="auto"` choose a size in a similar way.

#include <functional>
#include <string>
#include <vector>

#include "taper/core/generator.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/module.h"
#include "taper/nn/optim/saved_state.h"
#include "taper/nn/train/sink.h"

namespace taper {

/// Images of a batch that are computed together.
struct BatchPart {
  Batch batch;
  double divisor = 1;  ///< the part's mean loss divided by this is its share of the mean loss of all batches
};

class BatchSplitter {
 public:
  /// Hears of every size that was found.
  using Listener = std::function<void(const BatchSplit&)>;

  /// For work that changes nothing that a second attempt could see, as an evaluation.
  explicit BatchSplitter(Listener listener = {}) : listener_(std::move(listener)) {}
  /// For training: an attempt that fails leaves no trace in the model's buffers (batch norm's running statistics) or in the
  /// default generator. Keeps a copy of the buffers, on their device: make the splitter after the model has moved.
  explicit BatchSplitter(Module& model, Listener listener = {});

  /// Calls `attempt` with all parts of the batches. If it throws OutOfMemoryError, calls `undo`, which drops what
  /// attempt() has made and must not throw; restores buffers and generator; gives cached memory back; and makes a new
  /// attempt with parts of half the size. That size also holds for later calls. Throws OutOfMemoryError if
  /// single images do not fit, or if the smaller parts fail for another reason, as batch norm does for a single value.
  void run(const std::vector<Batch>& batches,
           const std::function<void(const std::vector<BatchPart>&)>& attempt,
           const std::function<void()>& undo);

  /// Returns the largest number of images computed at a time; 0 while whole batches fit.
  int64_t part_size() const { return part_size_; }

  /// The size that was found: a run that goes on begins with it, since other parts would change batch norm's results.
  SavedState state_dict() const { return {.tensors = {}, .numbers = {{"part_size", double(part_size_)}}}; }
  void load_state_dict(const SavedState& state) {
    part_size_ = int64_t(state.number("part_size", "BatchSplitter"));
  }

 private:
  void save_state();
  void restore_state();
  std::vector<BatchPart> parts_of(const std::vector<Batch>& batches) const;

  struct SavedBuffer {
    Tensor buffer, copy;
  };
  Listener listener_;
  std::vector<SavedBuffer> buffers_;
  bool training_ = false;
  GeneratorState generator_;
  int64_t part_size_ = 0;
};

/// Returns all images of each batch as one part.
std::vector<BatchPart> whole_batches(const std::vector<Batch>& batches);

}  // namespace taper
