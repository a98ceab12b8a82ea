#pragma once
// What the programs add to CLI11: strict numbers, messages for unknown flags, and one way to refuse a command line.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/error.h"
#include "taper/core/files/program.h"
#include "taper/core/tensor.h"
#include "taper/nn/report/progress.h"

namespace taper {

/// The range of a flag's numbers, including the ends.
template <class Number>
struct Range {
  Number least, most;
  bool without_least = false;

  /// False for NaN.
  bool contains(Number value) const {
    return value >= least && value <= most && !(without_least && value == least);
  }
  /// "from 0 to 1", "above 0 and up to 10".
  std::string str() const {
    return without_least ? fmt::format("above {} and up to {}", least, most)
                         : fmt::format("from {} to {}", least, most);
  }
};

/// Returns the number that all of `text` is. Throws CLI::ValidationError naming the flag if `text` is no
/// number, or outside `range`.
template <class Number>
Number parse_number(const std::string& flag, const std::string& text, const Range<Number>& range) {
  Number value = {};
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end || !range.contains(value))
    throw CLI::ValidationError(flag, fmt::format("'{}' is not a {}number {}", text,
                                                 std::is_integral_v<Number> ? "whole " : "", range.str()));
  return value;
}

/// A flag that sets `value` to a number.
template <class Number, class Value>
CLI::Option* add_number(CLI::App& app, const std::string& flag, Value& value, const Range<Number>& range,
                        const std::string& description) {
  return app
      .add_option_function<std::string>(
          flag,
          [flag, range, &value](const std::string& text) { value = Value(parse_number(flag, text, range)); },
          description)
      ->type_name((std::is_integral_v<Number> ? "N:" : "X:") + range.str());
}

/// Of --image-size and --resize, in pixels.
constexpr int kLargestImageSize = 4096, kLargestResize = 8192;

/// Checks a flag's output file name. An empty name, as from a script's unset variable, counts as missing.
inline std::string check_file_name(const std::string& name) {
  return name.empty() ? "needs the name of a file" : "";
}

/// Checks the name of a device that the program has.
inline std::string check_device(const std::string& name) {
  try {
    empty({}, {.device = Device(name)});
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

/// Throws CLI::ValidationError for "--flag=" without a value, which CLI11 would fill with the next word.
inline void refuse_flags_without_value(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--") && word.ends_with('='))
      throw CLI::ValidationError(word.substr(0, word.size() - 1), "there is nothing behind the =");
  }
}

/// Returns how many letters to add, drop or change to turn one word into the other (Levenshtein).
inline size_t letters_apart(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j < row.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({changed, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row.back();
}

/// "--epoch is not known; did you mean --epochs?" for arguments that `app` does not know.
inline std::string describe_unknown(const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining();
  const auto flag = std::find_if(unknown.begin(), unknown.end(),
                                 [](const std::string& word) { return word.size() > 1 && word[0] == '-'; });
  if (flag == unknown.end())
    return fmt::format("'{}' belongs to no flag", unknown.empty() ? "" : unknown.front());
  const std::string name = flag->substr(0, flag->find('='));
  std::string nearest;
  size_t distance = std::min<size_t>(3, (name.size() - 1) / 2);  // at this distance it is another word
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& known : option->get_lnames()) {
      const size_t apart = letters_apart(name, "--" + known);
      if (apart >= distance) continue;
      distance = apart;
      nearest = known;
    }
  }
  return name + " is not known" + (nearest.empty() ? "" : "; did you mean --" + nearest + "?");
}

/// Returns the message for a command line that CLI11 rejected.
inline std::string describe_refusal(const CLI::App& app, const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) return describe_unknown(app);
  const std::string message = error.what();
  // "--lr: 1 required X:... missing"
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && message.starts_with("--"))
    return message.substr(0, message.find(':')) + " needs a value";
  return message;
}

/// Parses the command line, then calls `check`, which refuses by throwing a CLI::ParseError. Returns the exit code
/// if the program ends here: 0 after --help and --version, 2 after one line about what is wrong.
inline std::optional<int> parse_command_line(
    CLI::App& app, int argc, char** argv, const std::function<void()>& check = [] {}) {
  try {
    refuse_flags_without_value(argc, argv);
    app.parse(argc, argv);
    check();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    print_error(describe_refusal(app, error) + " (see --help)");
    return 2;
  }
  return std::nullopt;
}

/// A file or folder named on the command line cannot be used: exit code 2.
class BadInput : public Error {
 public:
  using Error::Error;
};

/// Returns what `body` returns. The errors that it throws, but for a lack of memory, become BadInput.
template <class Body>
auto as_bad_input(Body&& body) {
  try {
    return body();
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const Error& error) {
    throw BadInput(error.what());
  }
}

/// Returns what `body` returns: the program's exit code. Turns what it throws into one line on standard error and the
/// code 2 for BadInput, else 1.
inline int run_program(const std::function<int()>& body) {
  try {
    return body();
  } catch (const BadInput& error) {
    print_error(error.what());
    return 2;
  } catch (const std::bad_alloc&) {
    print_error("out of memory: the system has no more to give");
  } catch (const std::exception& error) {
    print_error(error.what());
  }
  return 1;
}

/// Declares --progress.
inline CLI::Option* add_progress_flag(CLI::App& app, ProgressMode& mode) {
  return app
      .add_option_function<std::string>(
          "--progress",
          [&mode](const std::string& value) {
            mode = value == "on"    ? ProgressMode::kOn
                   : value == "off" ? ProgressMode::kOff
                                    : ProgressMode::kAuto;
          },
          "live progress line; auto: when stderr is a terminal")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->default_str("auto");
}

}  // namespace taper
