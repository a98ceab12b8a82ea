#include "options.h"

#include "examples/command_line.h"
#include "taper/core/gpu/runtime.h"
#include "taper/version.h"

namespace taper {
namespace {

constexpr const char* kDescription =
    "Says what is in images: reads the weights that resnet50_train or PyTorch saved, and prints each image's "
    "most\n"
    "probable classes.";

constexpr const char* kExamples =
    "Examples:\n"
    "  taper-predict --weights run/best photo.jpg              a checkpoint of resnet50_train\n"
    "  taper-predict --weights run/best photos --top 1         all images in a folder and its subfolders\n"
    "  taper-predict --weights resnet50.pth --classes imagenet.txt photo.jpg\n"
    "  find . -name '*.jpg' -newer done -print0 | taper-predict --weights run/best --list - --null\n"
    "  taper-predict --weights run/best photos --format jsonl | jq -r '[.image, .predictions[0].class] | "
    "@tsv'\n"
    "  taper-predict --weights run/best photos --format csv --out photos.csv --device cuda --amp bf16\n"
    "\n"
    "Weights that resnet50_train saved name their network, image size and classes. For other files, the "
    "tensors tell\n"
    "the network (ResNet-18, 34, 50, 101 or 152 with torchvision's names), images are taken as "
    "torchvision's\n"
    "evaluation does (256, 224), and classes are numbered unless --classes names them. Nothing in a file is "
    "run.\n"
    "\n"
    "--format table: for readers. jsonl: an object a line, {\"image\": ..., \"predictions\": [{\"class\", "
    "\"index\",\n"
    "\"probability\"}, ...]}; a name that is not UTF-8 also comes as \"image_hex\", its bytes. csv (RFC "
    "4180): a row for\n"
    "each image and rank. The order is that of the images given; a folder's are sorted by name.\n"
    "\n"
    "An image that cannot be read is told on standard error, and the others are predicted.\n"
    "Exit codes: 0 done, 1 an image could not be read or the work failed, 2 bad command line, weights or "
    "folder.";

void add_image_flags(CLI::App& app, PredictOptions& options) {
  app.add_option("IMAGE", options.paths, "images (.jpg, .jpeg, .png) and folders")->type_name("");
  app.add_option("--list", options.list, "a file with a path a line; - for standard input")
      ->check(check_file_name)
      ->type_name("FILE");
  app.add_flag("--null", options.null_separated,
               "the paths in --list end with a zero byte, as by find -print0");
  add_number(app, "--workers", options.workers, Range<int64_t>{0, 256},
             "threads that read images; 0 reads them between batches")
      ->default_str(fmt::format("{}", options.workers));
}

void add_model_flags(CLI::App& app, PredictOptions& options) {
  app.add_option("--weights", options.weights,
                 "a checkpoint's folder, a safetensors file, or a .pth of PyTorch")
      ->required()
      ->check(check_file_name)
      ->type_name("PATH");
  app.add_option_function<std::string>(
         "--eval-ema", [&options](const std::string& value) { options.eval_ema = value == "on"; },
         "take a checkpoint's averaged weights where it has some [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off");
  app.add_option("--arch", options.arch, "which ResNet the weights belong to (as the file says)")
      ->check(CLI::IsMember({"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}));
  add_number(app, "--image-size", options.image_size, Range<int64_t>{8, kLargestImageSize},
             "side of the network's input in pixels (as the file says, else 224)");
  add_number(app, "--resize", options.resize, Range<int64_t>{8, kLargestResize},
             "shorter side before the centre crop (as the file says, else image size * 256 / 224)");
  app.add_option("--classes", options.classes, "names of the classes, one a line (as the file says)")
      ->check(check_file_name)
      ->type_name("FILE");
}

void add_output_flags(CLI::App& app, PredictOptions& options) {
  add_number(app, "--top", options.top, Range<int64_t>{1, 1000000}, "classes for each image, best first")
      ->default_str(fmt::format("{}", options.top));
  app.add_option_function<std::string>(
         "--format",
         [&options](const std::string& value) {
           options.format = value == "jsonl" ? OutputFormat::kJsonLines
                            : value == "csv" ? OutputFormat::kCsv
                                             : OutputFormat::kTable;
         },
         "how to print")
      ->check(CLI::IsMember({"table", "jsonl", "csv"}))
      ->default_str("table");
  app.add_option("--out", options.out, "write there instead of standard output: the whole result or nothing")
      ->check(check_file_name)
      ->type_name("FILE");
  add_progress_flag(app, options.progress);
}

void add_running_flags(CLI::App& app, PredictOptions& options) {
  app.add_option_function<std::string>(
         "--device", [&options](const std::string& value) { options.device = Device(value); },
         "where to compute: cpu, cuda or cuda:INDEX [a GPU if there is a real one, else cpu]")
      ->check(check_device)
      ->type_name("DEVICE");
  app.add_option_function<std::string>(
         "--amp",
         [&options](const std::string& value) {
           options.amp.reset();
           if (value != "off") options.amp = value == "bf16" ? kBFloat16 : kFloat16;
         },
         "mixed precision: convolutions and products in bf16 or fp16 [off]")
      ->check(CLI::IsMember({"off", "bf16", "fp16"}))
      ->type_name("off|bf16|fp16");
  add_number(app, "--batch-size", options.batch_size, Range<int64_t>{1, 1 << 20},
             "images computed at a time; another size changes the last digits")
      ->default_str(fmt::format("{}", options.batch_size));
  add_number(app, "--threads", options.threads, Range<int64_t>{1, 1024}, "threads that compute (all CPUs)");
}

void check_flags(const PredictOptions& options) {
  const auto need = [](bool condition, const char* flag, const std::string& message) {
    if (!condition) throw CLI::ValidationError(flag, message);
  };
  need(!options.paths.empty() || !options.list.empty(), "IMAGE", "give images, folders, or --list FILE");
  need(!options.null_separated || !options.list.empty(), "--null", "belongs to --list");
  for (const std::string& path : options.paths) need(!path.empty(), "IMAGE", "an empty name names no image");
  need(options.resize == 0 || options.image_size == 0 || options.resize >= options.image_size, "--resize",
       fmt::format("{} is less than --image-size {}, so that nothing could be cut out", options.resize,
                   options.image_size));
}

}  // namespace

std::optional<int> parse_options(int argc, char** argv, PredictOptions& options) {
  CLI::App app(kDescription, "taper-predict");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("Taper ") + kVersion);
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_model_flags(app, options);
  add_output_flags(app, options);
  add_running_flags(app, options);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_image_flags(app, options);
  if (const auto exit_code = parse_command_line(app, argc, argv, [&] { check_flags(options); }))
    return exit_code;
  if (app.count("--device") == 0 && !gpu::is_simulated() && gpu::device_count() > 0) options.device = kCUDA;
  return std::nullopt;
}

}  // namespace taper
