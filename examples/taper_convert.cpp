// taper-convert: PyTorch's files to safetensors and back, and what is in either.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "examples/command_line.h"
#include "taper/core/base/error.h"
#include "taper/core/files/program.h"
#include "taper/nn/checkpoint/checkpoint.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/io/weights.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/version.h"

using namespace taper;

namespace {

constexpr const char* kDescription =
    "Turns weights and checkpoints of PyTorch (.pth, .pt) into safetensors files and back, or lists what\n"
    "is in one. Nothing in a file is run, whoever made it. The content of IN says which format it has, the\n"
    "name of OUT which it gets. IN may be the folder of a checkpoint: its model.safetensors is meant.";

constexpr const char* kExamples =
    "Examples:\n"
    "  taper-convert resnet50-19c8e357.pth                       lists names, dtypes, shapes and sums\n"
    "  taper-convert resnet50-19c8e357.pth resnet50.safetensors\n"
    "  taper-convert resnet50.safetensors resnet50.pth\n"
    "  taper-convert old.pth new.pth                             PyTorch's format of before 1.6 to today's\n"
    "\n"
    "A checkpoint's state dict becomes a safetensors file; its other entries (epoch, optimizer, ...) have\n"
    "no place there and are named. From .pth to .pth all is kept.\n"
    "Exit codes: 0 done, 1 a file cannot be read or written, 2 bad command line.";

enum class Format { kSafetensors, kPytorch };

struct Options {
  std::string in, out;
  StateDictOptions names;
};

Format format_of_name(const std::string& path) {
  if (path.ends_with(".safetensors")) return Format::kSafetensors;
  if (path.ends_with(".pth") || path.ends_with(".pt")) return Format::kPytorch;
  throw CLI::ValidationError("OUT", "'" + path + "' ends with none of .safetensors, .pth and .pt");
}

/// The sum of all elements: in f64 for floats, so that two files can be compared by eye.
std::string sum_of(const Tensor& tensor) {
  if (!is_floating_point(tensor.dtype())) return fmt::format("{}", ops::item(ops::sum(tensor)));
  return fmt::format("{:.6g}", ops::item(ops::sum(ops::cast(tensor, kFloat64))));
}

/// Prints a value and all below it, one line for each leaf, under dotted names.
class Lister {
 public:
  void list(const std::string& name, const PickleValue& value) {
    std::visit([&](const auto& content) { list_content(name, content); }, value.content());
  }
  void print_sum() const {
    print_out("{} {} of {} elements, {} bytes\n", tensors_, tensors_ == 1 ? "tensor" : "tensors", elements_,
              bytes_);
  }

 private:
  static std::string join(const std::string& name, const std::string& key) {
    return name.empty() ? key : name + "." + key;
  }
  template <class Text>
  static void line(const std::string& name, const Text& what) {
    print_out("{:40} {}\n", printable(name.empty() ? "(the value)" : name), what);
  }

  void list_content(const std::string& name, const Tensor& tensor) {
    line(name, fmt::format("{:4} {}  sum {}", taper::name(tensor.dtype()), tensor.shape(), sum_of(tensor)));
    ++tensors_;
    elements_ += tensor.numel();
    bytes_ += tensor.size_bytes();
  }
  void list_content(const std::string& name, const ForeignTensor& tensor) {
    line(name, fmt::format("{} [{}]  a dtype that Taper lacks", printable(tensor.dtype),
                           fmt::join(tensor.shape, ", ")));
  }
  void list_content(const std::string& name, std::monostate) { line(name, "None"); }
  void list_content(const std::string& name, bool value) { line(name, value ? "True" : "False"); }
  void list_content(const std::string& name, int64_t value) { line(name, value); }
  void list_content(const std::string& name, double value) { line(name, value); }
  void list_content(const std::string& name, const std::string& text) { line(name, quote_name(text)); }
  void list_content(const std::string& name, const PickleValue::List& items) {
    list_items(name, items, "[]");
  }
  void list_content(const std::string& name, const PickleValue::Tuple& tuple) {
    list_items(name, tuple.items, "()");
  }
  void list_items(const std::string& name, const PickleValue::List& items, const char* none) {
    if (items.empty()) line(name, none);
    for (size_t i = 0; i < items.size(); ++i) list(join(name, fmt::format("{}", i)), items[i]);
  }
  void list_content(const std::string& name, const PickleValue::Dict& dict) {
    if (dict.empty()) line(name, "{}");
    for (const PickleEntry& entry : dict) {
      const auto* text = std::get_if<std::string>(&entry.key.content());
      list(join(name, text != nullptr ? *text : fmt::format("{}", entry.key.get<int64_t>())), entry.value);
    }
  }

  int64_t tensors_ = 0, elements_ = 0;
  uint64_t bytes_ = 0;
};

void list(const PickleValue& value) {
  Lister lister;
  lister.list("", value);
  lister.print_sum();
}

/// Names what a file had besides the tensors that were converted.
void print_left_out(const StateDict& weights) {
  std::vector<std::string> names;
  for (const std::string& name : weights.left_out) names.push_back(quote_name(name));
  if (!names.empty()) print_out("left out: {}\n", fmt::join(names, ", "));
  for (const auto& [name, tensor] : weights.unreadable)
    print_out("left out: {}, of dtype {}, which Taper lacks\n", quote_name(name), printable(tensor.dtype));
}

int run(Options options) {
  options.in = checked_weights_file(options.in);
  const bool from_pytorch = is_pytorch_weights(options.in);
  if (options.out.empty()) {
    if (from_pytorch) {
      list(load_pytorch(options.in));
    } else {
      const Safetensors file = load_safetensors(options.in);
      list(value_of(file));
      for (const auto& [key, text] : file.metadata) print_out("{:40} {}\n", printable(key), quote_name(text));
    }
    return 0;
  }
  const Format format = format_of_name(options.out);
  if (format == Format::kPytorch && from_pytorch && options.names.strip_prefix.empty()) {
    save_pytorch(options.out, load_pytorch(options.in));
    return 0;
  }
  const StateDict weights = load_weights(options.in, options.names);
  if (format == Format::kPytorch) {
    save_pytorch(options.out, weights.tensors);
  } else {
    save_safetensors(options.out, weights.tensors, {{"format", "pt"}});
  }
  print_left_out(weights);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  start_program("taper-convert");
  Options options;
  CLI::App app(kDescription, "taper-convert");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("Taper ") + kVersion);
  app.add_option("IN", options.in, "the file to read")->required()->type_name("");
  app.add_option("OUT", options.out, "the file to write: .safetensors, .pth or .pt")->type_name("");
  app.add_option(
         "--strip-prefix", options.names.strip_prefix,
         "take this off the names that begin with it ('module.' goes by itself where all names have it)")
      ->type_name("TEXT");
  const auto check = [&] {
    if (!options.out.empty()) format_of_name(options.out);
  };
  if (const auto exit_code = parse_command_line(app, argc, argv, check)) return *exit_code;
  return run_program([&] { return run(options); });
}
