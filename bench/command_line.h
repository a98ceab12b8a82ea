#pragma once
// What the benchmarks of data parallelism add to examples/command_line.h.

#include <CLI/CLI.hpp>
#include <initializer_list>
#include <string>

#include "examples/command_line.h"

namespace taper {

/// Throws CLI::ValidationError naming `flag` unless `condition` holds.
inline void need(bool condition, const std::string& flag, const std::string& message) {
  if (!condition) throw CLI::ValidationError(flag, message);
}

/// Refuses those of `flags` that were given: the program would ignore them.
inline void refuse_flags(const CLI::App& app, std::initializer_list<const char*> flags,
                         const std::string& why) {
  for (const char* flag : flags) need(app.count(flag) == 0, flag, why);
}

/// As add_number() of a flag that has a value already: --help shows it.
template <class Number, class Value>
CLI::Option* add_number_with_default(CLI::App& app, const std::string& flag, Value& value,
                                     const Range<Number>& range, const std::string& description) {
  return add_number(app, flag, value, range, description)->default_str(fmt::format("{}", value));
}

/// A flag for the name of a file.
inline CLI::Option* add_file(CLI::App& app, const std::string& flag, std::string& name,
                             const std::string& description) {
  return app.add_option(flag, name, description)->check(check_file_name)->type_name("FILE");
}

/// Declares --device, --arch, --batch and --size, which describe a training step.
template <class Options>
void add_training_flags(CLI::App& app, Options& options, const std::string& group) {
  app.add_option("--device", options.device, "where the training step runs: cpu, cuda or cuda:N")
      ->check(check_device)
      ->type_name("DEVICE")
      ->capture_default_str()
      ->group(group);
  app.add_option("--arch", options.arch, "which ResNet")
      ->check(CLI::IsMember({"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}))
      ->capture_default_str()
      ->group(group);
  add_number_with_default(app, "--batch", options.batch, Range<int64_t>{1, 1 << 20},
                          "images in a step on one device")
      ->group(group);
  add_number_with_default(app, "--size", options.size, Range<int64_t>{8, kLargestImageSize},
                          "height and width of the images")
      ->group(group);
}

/// Declares --threads.
inline CLI::Option* add_threads_flag(CLI::App& app, int& threads, const std::string& description) {
  return add_number_with_default(app, "--threads", threads, Range<int64_t>{0, 1024}, description);
}

}  // namespace taper
