#pragma once
// Reads a pickle, the program by which Python rebuilds a value, without running anything: a machine that knows
// only the opcodes that state dicts are written with, and the names in pickle_names.h.
// Private to nn/io. PyTorch's counterpart: torch/_weights_only_unpickler.py; the opcodes: CPython's
// Lib/pickletools.py.

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "taper/nn/io/pickle_names.h"
#include "taper/nn/io/pickle_value.h"

namespace taper::detail {

/// A storage as a pickle names it: ('storage', FloatStorage, '0', 'cpu', 6).
struct PickledStorage {
  const PickledType* type;  ///< null for bytes (UntypedStorage)
  std::string_view key;
  int64_t elements;

  uint64_t element_bytes() const { return type == nullptr ? 1 : type->size_bytes; }
};

/// The arguments of _rebuild_tensor_v2. Sizes and strides are not checked yet.
struct PickledTensor {
  PickledStorage storage;
  const PickledType* type;
  int64_t offset;
  Shape shape;
  Strides strides;
};

class Unpickler {
 public:
  /// Runs the pickle that `bytes` begin with. Keeps views of `bytes` and of `path`. Its memory is a small
  /// multiple of the pickle's size. Throws FileError beginning with `path` for a pickle that is damaged, or
  /// that uses anything but plain values and tensors.
  Unpickler(std::string_view bytes, const std::string& path);

  /// Returns the size of the pickle.
  size_t size_bytes() const { return at_; }
  /// Returns all storages that the pickle names, some perhaps more than once.
  const std::vector<PickledStorage>& storages() const { return storages_; }
  /// Returns the value, with tensors made by `make_tensor`. Throws FileError for a value that contains itself,
  /// nests deeper than kMaxPickleDepth, or repeats its parts so often that it is many times the pickle.
  PickleValue value(const std::function<PickleValue(const PickledTensor&)>& make_tensor);

 private:
  enum class Kind : uint8_t {
    kUnset,
    kNone,
    kBool,
    kInteger,
    kReal,
    kText,
    kTuple,
    kList,
    kDict,
    kGlobal,   ///< a row of the table of names
    kStorage,  ///< a row of storages_
    kTensor,   ///< the arguments, in tuples_
  };
  /// A value on the machine's stack. Lists and dicts can change after they were pushed, and be pushed again,
  /// so a value points to them; texts stay in the pickle.
  struct Item {
    Kind kind = Kind::kUnset;
    uint32_t count = 0;  ///< the length of a text; the number of a tuple's items
    /// A number's bits; where a text begins in the pickle; the first row in tuples_, the row in containers_ or
    /// storages_, or the name in the table.
    uint64_t word = 0;

    int64_t integer() const { return int64_t(word); }
  };

  void run();
  void step(uint8_t opcode);
  void push_text(uint64_t size_bytes);
  void push_integer(int64_t value);
  void push_tuple(size_t count);
  void push_global(std::string_view module, std::string_view name);
  void push_container(Kind kind);
  void append(Kind kind, size_t first);
  void memoize(uint64_t index);
  void recall(uint64_t index);
  void reduce();
  void build();
  void persistent_id();
  Item make_dict(const Item& arguments);
  void check_tensor(const Item& arguments, size_t expected, size_t most);

  PickleValue convert(const Item& item, int depth);
  PickleValue convert_tensor(const Item& item);
  PickleValue convert_dict(const std::vector<Item>& items, int depth);
  PickleValue::List convert_all(const Item* first, size_t count, int depth);
  void spend(uint64_t amount);
  Dims dims(const Item& tuple);

  std::string_view take(uint64_t size_bytes);
  std::string_view line();
  template <class T>
  T number();
  void push(const Item& item);
  Item pop();
  /// Returns the items above the mark, which stay until drop().
  size_t pop_mark();
  void drop(size_t first) { stack_.resize(first); }
  const Item* items_of(const Item& tuple) const { return tuples_.data() + tuple.word; }
  std::string_view text_of(const Item& text) const { return bytes_.substr(text.word, text.count); }
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const;
  [[noreturn]] void refuse_name(std::string_view module, std::string_view name) const;

  std::string_view bytes_;
  const std::string& path_;
  size_t at_ = 0;
  bool stopped_ = false;
  uint64_t pushed_ = 0;
  std::vector<Item> stack_;
  std::vector<size_t> marks_;
  std::vector<Item> memo_;
  uint64_t memoized_ = 0;
  std::vector<Item> tuples_;  ///< items of all tuples, one tuple after the other
  std::deque<std::vector<Item>> containers_;
  std::vector<PickledStorage> storages_;
  Item result_;

  std::function<PickleValue(const PickledTensor&)> make_tensor_;
  std::unordered_map<uint64_t, PickleValue> tensors_;  ///< by their arguments
  uint64_t budget_ = 0;
};

}  // namespace taper::detail
