#include "taper/nn/train/predictions.h"

#include <algorithm>

#include "taper/core/base/printable.h"
#include "taper/core/views.h"
#include "taper/nn/train/saved_rows.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/index/index.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"

namespace taper {
namespace {

constexpr const char* kImages = "images";

SavedRow<5> row_of(const ImagePrediction& one) {
  return {double(one.index), double(one.label), double(one.predicted), one.confidence, one.of_label};
}

ImagePrediction prediction_of(const SavedRow<5>& row) {
  return {int64_t(row[0]), int64_t(row[1]), int64_t(row[2]), row[3], row[4]};
}

}  // namespace

SavedState Predictions::state_dict() const {
  SavedState state;
  state.tensors = {{kImages, tensor_of_rows<5>(all_, row_of)}};
  return state;
}

void Predictions::load_state_dict(const SavedState& state) {
  all_ = items_of_rows(state, kImages, "Predictions", prediction_of);
}

void Predictions::add(const Tensor& logits, const Batch& batch) {
  TAPER_CHECK(logits.dim() == 2 && logits.size(0) == batch.size(),
              "Predictions: logits must be [N, C] for {} images, got {}", batch.size(), logits.shape());
  const Tensor probabilities = ops::softmax(ops::cast(logits, kFloat32), 1);
  const auto [confidence, predicted] = ops::max(probabilities, 1);
  const Tensor labels = views::unsqueeze(batch.labels, 1);
  pending_.push_back(
      {batch.indices, batch.labels, predicted, confidence, ops::gather(probabilities, 1, labels)});
}

void Predictions::finish() {
  all_.clear();
  for (const Pending& pending : pending_) {
    const auto labels = ops::to_vector<int64_t>(pending.labels),
               predicted = ops::to_vector<int64_t>(pending.predicted);
    const auto confidence = ops::to_vector<double>(pending.confidence),
               of_label = ops::to_vector<double>(pending.of_label);
    for (size_t i = 0; i < labels.size(); ++i)
      all_.push_back({i < pending.indices.size() ? pending.indices[i] : -1, labels[i], predicted[i],
                      confidence[i], of_label[i]});
  }
  pending_.clear();
}

std::map<std::pair<int64_t, int64_t>, int64_t> confusion_counts(
    const std::vector<ImagePrediction>& predictions) {
  std::map<std::pair<int64_t, int64_t>, int64_t> counts;
  for (const ImagePrediction& prediction : predictions) ++counts[{prediction.label, prediction.predicted}];
  return counts;
}

std::vector<ImagePrediction> worst_mistakes(const std::vector<ImagePrediction>& predictions, size_t most) {
  std::vector<ImagePrediction> wrong;
  std::ranges::copy_if(predictions, std::back_inserter(wrong),
                       [](const ImagePrediction& prediction) { return !prediction.is_right(); });
  std::ranges::stable_sort(wrong, std::greater<>(), &ImagePrediction::confidence);
  wrong.resize(std::min(wrong.size(), most));
  return wrong;
}

std::optional<Image> picture_if_there(const DataLoader& batches, int64_t index) {
  try {
    return batches.picture(index);
  } catch (const FileError&) {
    return std::nullopt;
  }
}

std::string shown_class(const Dataset& dataset, int64_t label) {
  if (label < 0 || label >= dataset.num_classes()) return fmt::format("class {}", label);
  return printable(dataset.class_names()[size_t(label)]);
}

}  // namespace taper
