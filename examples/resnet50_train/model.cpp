#include "model.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "examples/command_line.h"
#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/nn/checkpoint/checkpoint.h"
#include "taper/nn/io/weights.h"
#include "taper/nn/models/freeze.h"
#include "taper/nn/models/pretrained.h"
#include "taper/nn/models/resnet_weights.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {

std::string name_of_not_finite(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (ops::item(ops::sum(ops::isfinite(tensor))) != double(tensor.numel())) return name;
  return {};
}

namespace {

/// Calls `body`. What it throws, but for errors that begin with a file's name, gets `flag` before and `hint` behind it.
void name_flag(const std::string& flag, const std::string& hint, const std::function<void()>& body) {
  try {
    body();
  } catch (const FileError&) {
    throw;
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const Error& error) {
    fail("{}: {}{}", flag, error.what(), hint);
  }
}

/// Returns the file that --init means, once its checksum is right.
std::string init_file(const TrainOptions& options) {
  const bool average = options.eval_only && options.eval_ema.value_or(true);
  return checked_weights_file(options.init, average ? WeightsOf::kAverage : WeightsOf::kModel);
}

/// Returns the weights in `file`. Throws Error if they are those of another ResNet than --arch.
StateDict weights_for(const TrainOptions& options, const std::string& file) {
  StateDict weights = load_weights(file);
  const std::optional<ResNetKind> kind = resnet_of_weights(weights.tensors);
  TAPER_CHECK(!kind || kind->arch == options.arch, "{}: weights of a {}; give --arch {}",
              options.weights_flag(), kind->arch, kind->arch);
  return weights;
}

void load_init(const TrainOptions& options, ResNet& model, std::vector<std::string>& notes) {
  const std::string file = init_file(options);
  TAPER_CHECK(!options.eval_only || !options.eval_ema.value_or(false) || file.ends_with("ema.safetensors"),
              "--eval-ema on: {} holds no moving average", options.init);
  const StateDict weights = weights_for(options, file);
  const std::optional<ResNetKind> kind = resnet_of_weights(weights.tensors);
  const int64_t classes = model.fc.weight.size(0);
  TAPER_CHECK(!kind || kind->num_classes == classes, "--init {}: weights for {} classes, and here are {}{}",
              options.init, kind->num_classes, classes,
              options.eval_only ? "" : "; --pretrained takes all but the last layer");
  name_flag(options.weights_flag(), "",
            [&] { model.load_state_dict(weights.tensors_for(model.state_dict())); });
  if (file != options.init) notes.push_back(fmt::format("weights of {}", printable(file)));
}

void take_pretrained(const TrainOptions& options, ResNet& model, std::vector<std::string>& notes) {
  const std::string file = checked_weights_file(options.pretrained);
  const StateDict weights = weights_for(options, file);
  name_flag(options.weights_flag(), fmt::format("; is it a {} (--arch)?", options.arch), [&] {
    const PretrainedReport report = load_pretrained(model, weights);
    notes.push_back("pretrained: " + report.str(printable(file)));
  });
}

void freeze_parts(const TrainOptions& options, ResNet& model, std::vector<std::string>& notes) {
  name_flag("--freeze", "", [&] {
    if (options.freeze.empty()) return;
    const int64_t frozen = freeze(model, options.freeze);
    notes.push_back(fmt::format("frozen: {} ({} of {} parameters)", fmt::join(options.freeze, ", "), frozen,
                                model.parameter_count()));
  });
  if (!options.freeze_batch_norm) return;
  const int64_t norms = freeze_batch_norms(model, *options.freeze_batch_norm);
  notes.push_back(norms == 1 ? "1 batch norm keeps its statistics"
                             : fmt::format("{} batch norms keep their statistics", norms));
}

}  // namespace

TrainOptions as_weights_say(TrainOptions options) {
  if (!options.eval_only) return options;
  const auto is_open = [&](const char* flag) {
    return std::ranges::none_of(options.given, [&](const auto& given) { return given.first == flag; });
  };
  const std::string path = init_file(options);
  const std::optional<ResNetKind> kind = resnet_of_weights(load_weights(path).tensors);
  if (kind && is_open("arch")) options.arch = kind->arch;
  const std::optional<ModelDescription> file = read_description(path);
  if (!file) return options;
  if (is_open("resize") && is_open("image-size")) options.resize = file->resize;
  if (is_open("image-size")) options.image_size = file->image_size;
  TAPER_CHECK(options.image_size <= kLargestImageSize && options.resize <= kLargestResize,
              "{} asks for images of {} pixels, cut out of {}; the most are {} and {}", options.init,
              options.image_size, options.resize, kLargestImageSize, kLargestResize);
  return options;
}

std::optional<std::string> difference_of_classes(const std::vector<std::string>& weights,
                                                 const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (i < weights.size() && names[i] == weights[i]) continue;
    if (i >= weights.size() || std::ranges::find(weights, names[i]) == weights.end())
      return fmt::format("the data set's class {} is none of the weights' {} classes", quote_name(names[i]),
                         weights.size());
    if (std::ranges::find(names, weights[i]) == names.end())
      return fmt::format("the data set lacks the weights' class {}", quote_name(weights[i]));
    return fmt::format("class {} is called {} in the data set and {} in the weights", i, quote_name(names[i]),
                       quote_name(weights[i]));
  }
  return std::nullopt;
}

std::optional<int64_t> check_classes(const TrainOptions& options, const std::vector<std::string>& names) {
  const std::optional<ModelDescription> file = read_description(init_file(options));
  if (!file || file->class_names.empty()) return std::nullopt;
  const std::optional<std::string> difference = difference_of_classes(file->class_names, names);
  TAPER_CHECK(!difference, "--init {}: {}", options.init, *difference);
  return int64_t(file->class_names.size());
}

std::optional<std::string> note_of_other_classes(const TrainOptions& options,
                                                 const std::vector<std::string>& names) {
  const std::string& weights = options.init.empty() ? options.pretrained : options.init;
  const std::optional<ModelDescription> file = read_description(weights_file(weights));
  if (!file || file->class_names.size() != names.size()) return std::nullopt;
  const std::optional<std::string> difference = difference_of_classes(file->class_names, names);
  if (!difference) return std::nullopt;
  return fmt::format("the last layer, fc, is taken as well, although {}", *difference);
}

std::unique_ptr<ResNet> build_model(const TrainOptions& options, int64_t num_classes,
                                    std::vector<std::string>& notes) {
  // NOLINTNEXTLINE(modernize-make-unique): a ResNet can be neither copied nor moved into place.
  std::unique_ptr<ResNet> model(
      new ResNet(make_resnet(options.arch, {.num_classes = num_classes,
                                            .zero_init_residual = options.zero_init_residual,
                                            .dropout = options.dropout})));
  model->to(options.dtype);
  if (!options.init.empty()) load_init(options, *model, notes);
  if (!options.pretrained.empty()) take_pretrained(options, *model, notes);
  freeze_parts(options, *model, notes);
  return model;
}

}  // namespace taper
