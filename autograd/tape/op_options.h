#pragma once
// An op's options at the doorway (tape.h): references to the caller's values, and how to say them. Nothing is
// read, copied or formatted until a listener asks.
//
//   Tape tape("sum", {x}, {{"axes", axes}, {"keepdim", keepdim}});
//   Tape tape("conv2d", {x, weight, bias}, {options});  // a struct, for which list_options() lists the parts
//
// PyTorch's counterpart: the arguments of an operator's schema, which the dispatcher boxes into c10::IValue
// for whoever asks (ATen/core/function_schema.h, ATen/core/boxing).

#include <concepts>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/int_pair.h"

namespace taper {

using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>>;

struct NamedOption {
  std::string_view name;
  OptionValue value;
  bool is_usual = false;  ///< the default, which texts leave out
};

/// An op's options as a listener gets them.
class OptionList {
 public:
  void add(std::string_view name, bool value) { add_value(name, value); }
  void add(std::string_view name, std::integral auto value) { add_value(name, int64_t(value)); }
  void add(std::string_view name, std::floating_point auto value) { add_value(name, double(value)); }
  void add(std::string_view name, Scalar value);
  /// One number where height and width agree, else both.
  void add(std::string_view name, IntPair value);
  void add(std::string_view name, const Dims& value);
  void add(std::string_view name, const std::vector<int64_t>& value) { add_value(name, value); }
  void add(std::string_view name, std::string_view value) { add_value(name, std::string(value)); }
  void add(std::string_view name, const char* value) { add(name, std::string_view(value)); }
  void add(std::string_view name, DType value) { add(name, taper::name(value)); }
  void add(std::string_view name, Device value) { add_value(name, value.str()); }
  void add(std::string_view name, MemoryFormat value);
  /// A tensor that no gradient flows to: indices, targets, running statistics. Undefined ones are left out.
  void add(std::string_view name, const Tensor& value) {
    if (value.defined()) tensors.emplace_back(name, value);
  }
  template <class T>
  void add(std::string_view name, const std::optional<T>& value) {
    if (value) add(name, *value);
  }

  /// Marks the options from `first` on that have the usual value, or the values of a list of usual ones.
  void mark_usual(size_t first, int64_t value);
  void mark_usual(size_t first, const OptionList& usual);

  std::vector<NamedOption> values;
  std::vector<std::pair<std::string_view, Tensor>> tensors;

 private:
  void add_value(std::string_view name, OptionValue value);
};

/// "stride 2", "keepdim", "axes [0, 2]"; empty for false and for the usual value.
std::string to_text(const NamedOption& option);

/// A reference to one option, or to a struct of them.
class Option {
 public:
  /// `name` is a literal. `usual`: the default, where texts should leave it out.
  template <class T>
  Option(const char* name, const T& value, int64_t usual = INT64_MIN)
      : name_(name), value_(&value), usual_(usual), list_([](const Option& self, OptionList& list) {
          const size_t first = list.values.size();
          list.add(self.name_, *static_cast<const T*>(self.value_));
          list.mark_usual(first, self.usual_);
        }) {}
  template <class T>
  requires requires(const T& options, OptionList& list) { list_options(options, list); }
  Option(const T& options)
      : value_(&options), list_([](const Option& self, OptionList& list) {
          const size_t first = list.values.size();
          list_options(*static_cast<const T*>(self.value_), list);
          OptionList usual;
          list_options(T{}, usual);
          list.mark_usual(first, usual);
        }) {}

  void list(OptionList& list) const { list_(*this, list); }

 private:
  const char* name_ = "";
  const void* value_;
  int64_t usual_ = INT64_MIN;
  void (*list_)(const Option&, OptionList&);
};

using Options = std::initializer_list<Option>;

}  // namespace taper
