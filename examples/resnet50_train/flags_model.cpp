#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_model_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Model";
  app.add_option("--arch", options.arch, "which ResNet")
      ->check(CLI::IsMember({"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}))
      ->capture_default_str()
      ->group(group);
  app.add_option(
         "--init", options.init,
         "start from these weights, all of them (PyTorch's .pth, safetensors, or a checkpoint's folder;\n"
         "torchvision's names)")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--pretrained", options.pretrained,
                 "start from these weights, and from a new last layer (fc) if they know other classes")
      ->type_name("FILE")
      ->group(group);
  app.add_option(
         "--freeze", options.freeze,
         "parts that do not train, by their names' beginning: conv1,bn1,layer1 or layer2.0; a second\n"
         "--freeze adds to the first")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME,...")
      ->group(group);
  app.add_option_function<std::string>(
         "--freeze-batch-norm",
         [&options](const std::string& value) {
           options.freeze_batch_norm.reset();
           if (value != "off")
             options.freeze_batch_norm = value == "all" ? BatchNorms::kAll : BatchNorms::kFrozen;
         },
         "batch norms that keep their running statistics and normalise by them: none, those in frozen\n"
         "parts, all [off]")
      ->check(CLI::IsMember({"off", "frozen", "all"}))
      ->type_name("off|frozen|all")
      ->group(group);
  app.add_flag(
         "--sync-batch-norm", options.sync_batch_norm,
         "with several ranks: batch norms take a batch's statistics over the images of all ranks; with\n"
         "--accumulate, of each batch by itself. Changes nothing in a single process")
      ->group(group);
  app.add_option_function<std::string>(
         "--zero-init-residual",
         [&options](const std::string& value) { options.zero_init_residual = value == "on"; },
         "begin with every residual branch at zero [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--dropout", options.dropout, Range<double>{0, 1},
             "probability that training drops a feature before the last layer")
      ->default_str(fmt::format("{}", options.dropout))
      ->group(group);
  app.add_option_function<std::string>(
         "--dtype", [&options](const std::string& value) { options.dtype = parse_dtype(value); },
         "arithmetic of the whole run [f32]; f64 to check against a reference")
      ->check(CLI::IsMember({"f32", "f64"}))
      ->type_name("f32|f64")
      ->group(group);
  app.add_option_function<std::string>(
         "--amp",
         [&options](const std::string& value) {
           if (value == "off")
             options.amp.reset();
           else
             options.amp = value == "bf16" ? kBFloat16 : kFloat16;
         },
         "mixed precision: convolutions and products in bf16 or fp16, weights stay f32; fp16 also\n"
         "scales the loss [off]")
      ->check(CLI::IsMember({"off", "bf16", "fp16"}))
      ->type_name("off|bf16|fp16")
      ->group(group);
}

void check_model_flags(const TrainOptions& options) {
  need(options.dropout < 1, "--dropout", "must be below 1: with 1, no feature is left");
  need(options.init.empty() || options.pretrained.empty(), "--pretrained",
       "is another way to begin than --init; give one of the two");
  need(options.freeze_batch_norm != BatchNorms::kFrozen || !options.freeze.empty(), "--freeze-batch-norm",
       "frozen means the parts of --freeze, which is not given");
  need(!options.sync_batch_norm || options.freeze_batch_norm != BatchNorms::kAll, "--sync-batch-norm",
       "has nothing to do: with --freeze-batch-norm all, no batch norm takes statistics of a batch");
  for (const auto& [flag, given] : {std::pair("--pretrained", !options.pretrained.empty()),
                                    std::pair("--freeze", !options.freeze.empty()),
                                    std::pair("--freeze-batch-norm", options.freeze_batch_norm.has_value()),
                                    std::pair("--sync-batch-norm", options.sync_batch_norm)})
    need(!given || !options.eval_only, flag, "is for training; leave it out, or --eval-only");
  need(!options.amp || options.dtype == kFloat32, "--amp",
       "keeps the weights in f32; leave out --dtype f64, or --amp");
}

}  // namespace taper
