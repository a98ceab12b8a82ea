#pragma once
// What torch.save() keeps besides tensors: the Python values that checkpoints are made of. A checkpoint is a
// tree of dicts, lists and tuples with tensors, numbers and texts at its leaves.

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// A tensor of a dtype that Taper lacks: what is known about it.
struct ForeignTensor {
  std::string dtype;           ///< as its file names it: "int8", "I8"
  std::vector<int64_t> shape;  ///< in fewer bytes than a Shape has, since all values are of one size

  bool operator==(const ForeignTensor&) const = default;
};

struct PickleEntry;

/// A Python value. Reads like one, too:
///
///   PickleValue checkpoint = PickleValue::Dict{{"epoch", 3}, {"weight", zeros({2, 3})}};
///   const PickleValue* epoch = checkpoint.find("epoch");   // null if there is none
///   int64_t number = epoch->get<int64_t>();
class PickleValue {
 public:
  using List = std::vector<PickleValue>;
  struct Tuple {
    List items;
  };
  /// In the order of insertion, as in Python. Keys are texts or integers.
  using Dict = std::vector<PickleEntry>;
  using Content = std::variant<std::monostate, bool, int64_t, double, std::string, Tensor, ForeignTensor,
                               List, Tuple, Dict>;

  PickleValue();  ///< None
  PickleValue(bool value);
  template <std::integral T>
  PickleValue(T value) : PickleValue(Content(int64_t(value))) {}
  template <std::floating_point T>
  PickleValue(T value) : PickleValue(Content(double(value))) {}
  PickleValue(const char* text);
  PickleValue(std::string text);
  PickleValue(Tensor tensor);
  PickleValue(ForeignTensor tensor);
  PickleValue(List items);
  PickleValue(Tuple items);
  PickleValue(Dict entries);
  PickleValue(const PickleValue&);
  PickleValue(PickleValue&&) noexcept;
  PickleValue& operator=(const PickleValue&);
  PickleValue& operator=(PickleValue&&) noexcept;
  ~PickleValue();

  const Content& content() const { return content_; }
  template <class T>
  bool is() const {
    return std::holds_alternative<T>(content_);
  }
  bool is_none() const { return is<std::monostate>(); }
  /// Returns the value as a T, one of Content's types. Throws Error if it is of another type.
  template <class T>
  const T& get() const {
    const T* value = std::get_if<T>(&content_);
    TAPER_CHECK(value != nullptr, "the saved value is {}, which is not what was asked for", describe());
    return *value;
  }
  /// Returns the value under `key` of a dict; null if there is none, or if this is no dict.
  const PickleValue* find(std::string_view key) const;
  /// Returns the items of a list or tuple. Throws Error for any other value.
  const List& items() const;
  /// Returns a number, a switch as 0 or 1, or the one element of a tensor. Throws Error for any other value.
  double number() const;
  /// Returns "a dict of 3 entries", "a tensor f32 [2, 3]", "the number 5", for messages.
  std::string describe() const;

 private:
  explicit PickleValue(Content content);

  Content content_;
};

struct PickleEntry {
  PickleValue key, value;
};

/// How deep values nest at most, in what is read and in what is written.
inline constexpr int kMaxPickleDepth = 64;

}  // namespace taper
