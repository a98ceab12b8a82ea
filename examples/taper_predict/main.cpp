// taper-predict: images in, class names and probabilities out.

#include <cmath>
#include <deque>

#include "classifier.h"
#include "inputs.h"
#include "options.h"
#include "prediction_writer.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "taper/nn/data/image_list.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/serve/inference_form.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"

namespace taper {
namespace {

/// A batch's best classes. On a GPU they may still be on their way to the host.
struct Best {
  Tensor probabilities, classes;  ///< [N, top]
  Tensor images;                  ///< [N]: which images the batch holds, ascending
  std::optional<gpu::Event> arrived = {};
};

/// Applies a network to a list of images, writes what it finds, and counts the images that cannot be read.
class Predictor {
 public:
  Predictor(const PredictOptions& options, Classifier classifier, std::vector<std::string> images)
      : options_(options),
        top_(std::min(options.top, classifier.num_classes())),
        model_(std::move(classifier.model)),
        output_(options.out),
        format_(make_format(options, classifier.description.class_names, images)),
        images_(std::make_shared<ImageListDataset>(std::move(images))),
        loader_(images_,
                evaluation_transform(classifier.description.image_size, classifier.description.resize),
                {.batch_size = std::min(options.batch_size, images_->size()),
                 .workers = options.workers,
                 .broken = BrokenImages::kSkip,
                 .device = options.device,
                 .dtype = options.amp.value_or(kFloat32)}),
        progress_(options.progress) {
    model_->to(options.device);
  }

  /// Returns how many images could not be read.
  int64_t run();

 private:
  Best enqueue(const InferenceForm& model, const Batch& batch) const;
  void write(const Best& best);
  /// Says on standard error why the images from next_ to before `index` were not predicted.
  void tell_unreadable(int64_t index);

  const PredictOptions& options_;
  const int64_t top_;
  const std::unique_ptr<ResNet> model_;
  PredictionOutput output_;
  const std::unique_ptr<PredictionFormat> format_;
  const std::shared_ptr<const ImageListDataset> images_;
  DataLoader loader_;
  ProgressLine progress_;
  int64_t next_ = 0;  // the first image that nothing was said of
  int64_t unreadable_ = 0;
};

int64_t Predictor::run() {
  const InferenceForm model(*model_);
  // A GPU works on one batch while the results of the batch before travel and are written.
  const size_t may_fly = options_.device.is_cuda() ? 1 : 0;
  std::deque<Best> in_flight;
  output_.write(format_->header());
  loader_.start(0);
  while (const std::optional<Batch> batch = loader_.next()) {
    in_flight.push_back(enqueue(model, *batch));
    for (; in_flight.size() > may_fly; in_flight.pop_front()) write(in_flight.front());
  }
  for (const Best& best : in_flight) write(best);
  tell_unreadable(images_->size());
  progress_.clear();
  output_.commit();
  return unreadable_;
}

Best Predictor::enqueue(const InferenceForm& model, const Batch& batch) const {
  const Device device = batch.images.device();
  Tensor logits;
  {
    std::optional<AutocastGuard> autocast;
    if (options_.amp) autocast.emplace(device.type, *options_.amp);
    logits = model(batch.images);
  }
  const auto [probabilities, classes] = ops::topk(ops::softmax(ops::cast(logits, kFloat32), 1), top_, 1);
  if (device.is_cpu()) return {probabilities, classes, batch.labels};
  Best best = {ops::to_device(probabilities, kCPU, true), ops::to_device(classes, kCPU, true),
               ops::to_device(batch.labels, kCPU, true)};
  best.arrived.emplace().record(gpu::current_stream(device.index));
  return best;
}

void Predictor::write(const Best& best) {
  if (best.arrived) best.arrived->synchronize();
  std::string text;
  for (int64_t row = 0; row < best.images.size(0); ++row) {
    const int64_t image = best.images.data<int64_t>()[row];
    tell_unreadable(image);
    next_ = image + 1;
    Prediction prediction{.image = images_->path(image), .classes = {}};
    for (int64_t k = row * top_; k < (row + 1) * top_; ++k)
      prediction.classes.push_back({best.classes.data<int64_t>()[k], best.probabilities.data<float>()[k]});
    TAPER_CHECK(!std::isnan(prediction.classes[0].probability),
                "{}: the network's answer is NaN; do the weights in {} hold NaN or infinity?",
                prediction.image, options_.weights);
    text += format_->rows(prediction);
  }
  progress_.clear();
  output_.write(text);
  progress_.update("images", next_, images_->size(), "");
}

void Predictor::tell_unreadable(int64_t index) {
  for (; next_ < index; ++next_) {
    progress_.clear();
    print_error(loader_.broken_image(next_));
    ++unreadable_;
  }
}

int run(const PredictOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  Inputs inputs;
  try {
    inputs = find_inputs(options);
    if (!options.out.empty()) AtomicFile::check(options.out);
  } catch (const FileError& error) {
    throw BadInput(error.what());
  }
  Classifier classifier = load_classifier(options);
  for (const std::string& note : inputs.notes) print_error(note);
  Predictor predictor(options, std::move(classifier), std::move(inputs.images));
  return predictor.run() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace taper

int main(int argc, char** argv) {
  taper::start_program("taper-predict");
  taper::PredictOptions options;
  if (const auto exit_code = taper::parse_options(argc, argv, options)) return *exit_code;
  return taper::run_program([&] { return taper::run(options); });
}
