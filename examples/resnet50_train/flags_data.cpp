#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

constexpr double kLargestAlpha = 1e6;  ///< shares are 1/2 to three digits

void add_data_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Data";
  app.add_option("--dataset", options.dataset, "digits (embedded), imagefolder (--data, --val), or synthetic")
      ->check(CLI::IsMember({"digits", "imagefolder", "synthetic"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--data", options.data, "training images, DIR/CLASS/*.jpg|jpeg|png (imagefolder)")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--val", options.val, "validation images, laid out as --data")
      ->type_name("DIR")
      ->group(group);
  add_number(app, "--image-size", options.image_size, Range<int64_t>{8, kLargestImageSize},
             "side of the network's input in pixels (32 for digits, else 224)")
      ->group(group);
  add_number(app, "--resize", options.resize, Range<int64_t>{8, kLargestResize},
             "shorter side before the centre crop (image size * 256 / 224)")
      ->group(group);
  add_number(app, "--num-classes", options.num_classes, Range<int64_t>{1, 1000000},
             "outputs of the network (the data set's classes)")
      ->group(group);
  app.add_option_function<std::string>(
         "--augment", [&options](const std::string& value) { options.augment = value == "on"; },
         "random crops and flips in training [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--mixup", options.mixup, Range<double>{0, kLargestAlpha},
             "blend each image with another, in shares of Beta(X, X); 0 for none")
      ->default_str(fmt::format("{}", options.mixup))
      ->group(group);
  add_number(app, "--cutmix", options.cutmix, Range<double>{0, kLargestAlpha},
             "put a rectangle of another image into each, whose share of the area is of Beta(X, X); with\n"
             "--mixup, each batch has one of the two, at random; 0 for none")
      ->default_str(fmt::format("{}", options.cutmix))
      ->group(group);
  add_number(app, "--random-erasing", options.random_erasing, Range<double>{0, 1},
             "probability that a rectangle of an image is erased in training")
      ->default_str(fmt::format("{}", options.random_erasing))
      ->group(group);
  app.add_option_function<std::string>(
         "--shuffle", [&options](const std::string& value) { options.shuffle = value == "on"; },
         "a new order of images each epoch [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  app.add_flag("--strict-data", options.strict_data, "stop at an unreadable image instead of skipping it")
      ->group(group);
  add_number(app, "--workers", options.workers, Range<int64_t>{0, 256},
             "threads that read images; 0 reads them between steps")
      ->default_str(fmt::format("{}", options.workers))
      ->group(group);
}

void check_data_flags(const TrainOptions& options) {
  for (const auto& [flag, value] :
       {std::pair("--mixup", options.mixup), std::pair("--cutmix", options.cutmix),
        std::pair("--random-erasing", options.random_erasing)})
    need(value == 0 || !options.eval_only, flag, "changes training images, and --eval-only has none");
  if (options.dataset == "imagefolder") {
    need(!options.data.empty() || options.eval_only, "--data",
         "imagefolder needs a folder of training images");
    need(!options.val.empty() || !options.eval_only, "--val",
         "--eval-only needs a folder of validation images");
  } else {
    need(options.data.empty(), "--data", "belongs to --dataset imagefolder");
    need(options.val.empty(), "--val", "belongs to --dataset imagefolder");
  }
}

}  // namespace taper
