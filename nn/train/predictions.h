#pragma once
// Predictions: what a model says of each image of a validation set. Confusion matrices, pictures of the worst
// mistakes and tables of samples are made of it.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "taper/nn/data/loader.h"
#include "taper/nn/optim/saved_state.h"

namespace taper {

struct ImagePrediction {
  int64_t index = 0;      ///< of the image in the data set
  int64_t label = 0;      ///< its class
  int64_t predicted = 0;  ///< the class that the model finds most probable
  double confidence = 0;  ///< the probability of `predicted`, 0 to 1
  double of_label = 0;    ///< the probability of `label`

  bool is_right() const { return predicted == label; }
  bool operator==(const ImagePrediction&) const = default;
};

class Predictions {
 public:
  /// Begins an evaluation. all() keeps what it has until the evaluation comes to its end.
  void begin() { pending_.clear(); }
  /// Adds those for a batch. logits: [N, C]. On a GPU only enqueues, and keeps 24 bytes an image there.
  void add(const Tensor& logits, const Batch& batch);
  /// Ends the evaluation. Waits for the GPU.
  void finish();
  /// Returns the predictions of the last evaluation that came to its end, in the order of its batches.
  const std::vector<ImagePrediction>& all() const { return all_; }

  /// Returns all(), for a checkpoint: a row of numbers for each image.
  SavedState state_dict() const;
  /// Throws Error, with nothing changed, for a state that is none of Predictions.
  void load_state_dict(const SavedState& state);

 private:
  struct Pending {
    std::vector<int64_t> indices;
    Tensor labels, predicted;     // [N] i64
    Tensor confidence, of_label;  // [N] and [N, 1] f32
  };
  std::vector<Pending> pending_;
  std::vector<ImagePrediction> all_;
};

/// Returns how many images of class `first` were taken for class `second`, without zeros.
std::map<std::pair<int64_t, int64_t>, int64_t> confusion_counts(
    const std::vector<ImagePrediction>& predictions);

/// Returns at most `most` wrong predictions, the most confident first.
std::vector<ImagePrediction> worst_mistakes(const std::vector<ImagePrediction>& predictions, size_t most);

/// Returns DataLoader::picture(index); nothing if its file cannot be read any more.
std::optional<Image> picture_if_there(const DataLoader& batches, int64_t index);

/// Returns the name of a class, printable; "class 12" for an output of the network that stands for no class.
std::string shown_class(const Dataset& dataset, int64_t label);

}  // namespace taper
