#include "classifier.h"

#include <filesystem>

#include "inputs.h"
#include "taper/core/base/printable.h"
#include "taper/nn/checkpoint/checkpoint.h"
#include "taper/nn/data/transforms.h"
#include "taper/nn/io/weights.h"
#include "taper/nn/models/resnet_weights.h"

namespace taper {
namespace {

/// Returns the file that holds the weights: in a checkpoint's folder, the averaged ones if there are some and they are
/// wanted.
std::string find_weights(const PredictOptions& options) {
  const std::string path =
      checked_weights_file(options.weights, options.eval_ema ? WeightsOf::kAverage : WeightsOf::kModel);
  std::error_code unknown;
  if (path != options.weights && !std::filesystem::exists(path, unknown))
    fail<FileError>("{}: no checkpoint, since it holds no model.safetensors", options.weights);
  return path;
}

struct WeightsFile {
  StateDict weights;
  std::optional<ModelDescription> description;
};

WeightsFile read_weights(const std::string& path) {
  return {.weights = load_weights(path), .description = read_description(path)};
}

/// Returns what the command line, the file, and the names of the tensors say of the network, in this order.
ModelDescription describe(const PredictOptions& options, const WeightsFile& file) {
  ModelDescription result = file.description.value_or(ModelDescription{});
  if (!options.arch.empty()) {
    result.arch = options.arch;
  } else if (result.arch.empty()) {
    const auto kind = resnet_of_weights(file.weights.tensors);
    TAPER_CHECK(kind,
                "the weights are not those of a ResNet-18, 34, 50, 101 or 152 with torchvision's names");
    result.arch = kind->arch;
  }
  if (options.image_size > 0) result.image_size = options.image_size;
  if (options.resize > 0) {
    result.resize = options.resize;
  } else if (options.image_size > 0) {
    result.resize = evaluation_transform(options.image_size).resize;
  }
  // A number in a file may not ask for any amount of memory.
  TAPER_CHECK(result.image_size <= kLargestImageSize && result.resize <= kLargestResize,
              "the file asks for images of {} pixels, cut out of {}; the most are {} and {}",
              result.image_size, result.resize, kLargestImageSize, kLargestResize);
  TAPER_CHECK(result.resize >= result.image_size,
              "images whose shorter side is {} cannot be cropped to {}; a larger --resize or a smaller "
              "--image-size fits",
              result.resize, result.image_size);
  return result;
}

/// Returns a name for each of the network's outputs. Those without a name are called "class N".
std::vector<std::string> names_of_classes(const PredictOptions& options, std::vector<std::string> names,
                                          int64_t outputs) {
  if (!options.classes.empty()) {
    names = read_lines(options.classes);
    TAPER_CHECK(int64_t(names.size()) == outputs, "--classes {}: {} names, but the network has {} outputs",
                options.classes, names.size(), outputs);
  }
  TAPER_CHECK(int64_t(names.size()) <= outputs, "the file names {} classes, but the network has {} outputs",
              names.size(), outputs);
  while (int64_t(names.size()) < outputs) names.push_back(fmt::format("class {}", names.size()));
  return names;
}

Classifier build(const PredictOptions& options, const WeightsFile& file) {
  Classifier result{.model = nullptr, .description = describe(options, file)};
  const Tensor& last = file.weights.at("fc.weight");
  TAPER_CHECK(last.dim() == 2, "fc.weight has shape {}, where the last layer's is [classes, features]",
              last.shape());
  // NOLINTNEXTLINE(modernize-make-unique): a ResNet can be neither copied nor moved into place.
  result.model.reset(new ResNet(make_resnet(result.description.arch, {.num_classes = last.size(0)})));
  result.model->load_state_dict(file.weights.tensors_for(result.model->state_dict()));
  result.model->eval();
  std::vector<std::string>& names = result.description.class_names;
  names = names_of_classes(options, std::move(names), last.size(0));
  return result;
}

}  // namespace

Classifier load_classifier(const PredictOptions& options) {
  std::string path = options.weights;
  try {
    path = find_weights(options);
    return build(options, read_weights(path));
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const FileError& error) {
    throw BadInput(error.what());
  } catch (const Error& error) {
    const std::string message = error.what();
    throw BadInput(message.starts_with("--") ? message : path + ": " + message);
  }
}

}  // namespace taper
