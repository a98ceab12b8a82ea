#include "data.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/data/synthetic_dataset.h"

namespace taper {
namespace {

/// How many images the synthetic data set holds: an epoch of it is as long as it needs to be.
constexpr int64_t kSyntheticImages = 12800;
constexpr int64_t kSyntheticClasses = 1000;

struct Datasets {
  std::shared_ptr<const Dataset> train, validation;
};

Datasets open_folders(const TrainOptions& options, std::vector<std::string>& notes) {
  const auto open = [&](const std::string& folder) -> std::shared_ptr<const Dataset> {
    if (folder.empty()) return nullptr;
    auto dataset = std::make_shared<ImageFolderDataset>(folder);
    if (const std::string others = dataset->passed_over().str(); !others.empty())
      notes.push_back(fmt::format("passed over in {}: {}", printable(folder), others));
    return dataset;
  };
  const Datasets sets = {open(options.data), open(options.val)};
  if (sets.train && sets.validation) check_same_classes(*sets.train, *sets.validation);
  if (sets.train && !options.eval_only) check_readable(*sets.train);
  if (sets.validation) check_readable(*sets.validation);
  return sets;
}

Datasets open_datasets(const TrainOptions& options, std::vector<std::string>& notes) {
  if (options.dataset == "digits")
    return {std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
            std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest)};
  if (options.dataset == "imagefolder") return open_folders(options, notes);
  const int64_t classes = options.num_classes > 0 ? options.num_classes : kSyntheticClasses;
  return {std::make_shared<SyntheticDataset>(kSyntheticImages, classes, options.image_size, options.seed),
          nullptr};
}

}  // namespace

std::vector<std::string> Data::unreadable() const {
  std::set<std::string> all;  // one folder may serve for both
  for (const DataLoader* loader : {train.get(), validation.get()})
    if (loader) std::ranges::copy(loader->broken_images(), std::inserter(all, all.end()));
  return {all.begin(), all.end()};
}

ImageTransform evaluation_geometry(const TrainOptions& options) {
  const bool digits = options.dataset == "digits";
  return evaluation_transform(options.image_size,
                              digits && options.resize == 0 ? options.image_size : options.resize);
}

Data load_data(const TrainOptions& options) {
  Data data;
  const auto [train, validation] = open_datasets(options, data.notes);
  const int64_t found = (train ? train : validation)->num_classes();
  data.num_classes = options.num_classes > 0 ? options.num_classes : found;
  TAPER_CHECK(data.num_classes >= found, "--num-classes {}: the data set has {} classes", data.num_classes,
              found);
  const bool digits = options.dataset == "digits";
  const ImageTransform evaluation = evaluation_geometry(options);
  if (train && !options.eval_only) {
    ImageTransform transform = options.augment ? training_transform(options.image_size) : evaluation;
    if (digits) transform.flip = false;  // a mirrored digit is no digit
    transform.erase = options.random_erasing;
    const int64_t ranks = options.place.size;
    const int64_t batch_size = std::min(options.batch_size, train->size() / ranks * ranks);
    TAPER_CHECK(batch_size > 0, "{} images are too few for {} ranks", train->size(), ranks);
    data.train = std::make_unique<DataLoader>(
        train, transform,
        DataLoaderOptions{
            .batch_size = batch_size,
            .shard = {options.place.rank, options.place.size},
            .shuffle = options.shuffle,
            .drop_last = true,
            .workers = options.workers,
            .broken = options.strict_data ? BrokenImages::kRefuse : BrokenImages::kReplace,
            .device = options.device,
            .dtype = options.image_dtype(),
            .seed = options.seed,
            .mix = {.mixup = options.mixup, .cutmix = options.cutmix, .classes = data.num_classes}});
  }
  if (validation) {
    data.validation = std::make_unique<DataLoader>(
        validation, evaluation,
        DataLoaderOptions{.batch_size = options.batch_size,
                          .shard = {options.place.rank, options.place.size},
                          .workers = options.workers,
                          .broken = options.strict_data ? BrokenImages::kRefuse : BrokenImages::kSkip,
                          .device = options.device,
                          .dtype = options.image_dtype(),
                          .seed = options.seed});
  }
  return data;
}

}  // namespace taper
