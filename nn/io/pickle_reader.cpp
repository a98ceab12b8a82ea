#include "taper/nn/io/pickle_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "taper/core/base/printable.h"

namespace taper::detail {
namespace {

/// A tensor is written with some 28 values, so this is 150,000 tensors: more than the largest models have.
constexpr uint64_t kMaxValues = uint64_t(1) << 22;

}  // namespace

template <class... Args>
void Unpickler::refuse(fmt::format_string<Args...> format, Args&&... args) const {
  throw FileError(fmt::format("{}: the pickle's byte {}: ", path_, at_) +
                  fmt::format(format, std::forward<Args>(args)...));
}

void Unpickler::refuse_name(std::string_view module, std::string_view name) const {
  fail<FileError>(
      "{}: the pickle wants {}.{}, which no dict of tensors needs, so it is not read; save tensors alone in "
      "Python: torch.save(model.state_dict(), FILE)",
      path_, shortened(module, 80), shortened(name, 80));
}

Unpickler::Unpickler(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {
  run();
}

void Unpickler::run() {
  while (!stopped_) step(uint8_t(take(1)[0]));
  if (!marks_.empty() || !stack_.empty()) refuse("values are left over at its end");
  stack_ = {};
  memo_ = {};
}

std::string_view Unpickler::take(uint64_t size_bytes) {
  if (size_bytes > bytes_.size() - at_)
    refuse("it is cut off: {} bytes are needed and {} are left", size_bytes, bytes_.size() - at_);
  const std::string_view taken = bytes_.substr(at_, size_bytes);
  at_ += size_bytes;
  return taken;
}

std::string_view Unpickler::line() {
  const size_t end = bytes_.find('\n', at_);
  if (end == std::string_view::npos) refuse("it is cut off within a name");
  const std::string_view text = take(end - at_);
  take(1);
  return text;
}

template <class T>
T Unpickler::number() {
  T value;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

void Unpickler::push(const Item& item) {
  if (++pushed_ > kMaxValues) refuse("it has more than {} values", kMaxValues);
  stack_.push_back(item);
}

Unpickler::Item Unpickler::pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("it takes a value where there is none");
  const Item item = stack_.back();
  stack_.pop_back();
  return item;
}

size_t Unpickler::pop_mark() {
  if (marks_.empty()) refuse("it ends a group that was not begun");
  const size_t first = marks_.back();
  marks_.pop_back();
  return first;
}

void Unpickler::push_integer(int64_t value) {
  push({.kind = Kind::kInteger, .word = uint64_t(value)});
}

void Unpickler::push_text(uint64_t size_bytes) {
  const std::string_view text = take(size_bytes);
  if (size_bytes > UINT32_MAX) refuse("a text has {} bytes", size_bytes);
  if (!is_utf8(text)) refuse("a text is not UTF-8");
  push({.kind = Kind::kText, .count = uint32_t(size_bytes), .word = at_ - size_bytes});
}

/// Makes the last `count` values a tuple.
void Unpickler::push_tuple(size_t count) {
  const Item tuple = {.kind = Kind::kTuple, .count = uint32_t(count), .word = tuples_.size()};
  tuples_.insert(tuples_.end(), stack_.end() - ptrdiff_t(count), stack_.end());
  drop(stack_.size() - count);
  push(tuple);
}

void Unpickler::push_container(Kind kind) {
  push({.kind = kind, .word = containers_.size()});
  containers_.emplace_back();
}

void Unpickler::push_global(std::string_view module, std::string_view name) {
  const std::optional<uint64_t> found = find_pickle_name(module, name);
  if (!found) refuse_name(module, name);
  push({.kind = Kind::kGlobal, .word = *found});
}

/// Moves the values from `first` on to the end of the list or dict below.
void Unpickler::append(Kind kind, size_t first) {
  if (first <= (marks_.empty() ? 0 : marks_.back())) refuse("it takes a value where there is none");
  const Item& target = stack_[first - 1];
  if (target.kind != kind) refuse("it adds to what is no {}", kind == Kind::kList ? "list" : "dict");
  if (kind == Kind::kDict && (stack_.size() - first) % 2 != 0) refuse("a key has no value");
  std::vector<Item>& items = containers_[target.word];
  items.insert(items.end(), stack_.begin() + ptrdiff_t(first), stack_.end());
  drop(first);
}

void Unpickler::memoize(uint64_t index) {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
    refuse("it remembers a value where there is none");
  // Python counts from 0 up, and each value takes a byte, so no honest index exceeds the bytes so far.
  if (index > at_) refuse("it remembers a value as number {}", index);
  if (index >= memo_.size()) memo_.resize(index + 1);
  memo_[index] = stack_.back();
  ++memoized_;
}

void Unpickler::recall(uint64_t index) {
  if (index >= memo_.size() || memo_[index].kind == Kind::kUnset)
    refuse("it recalls number {}, which was not remembered", index);
  push(memo_[index]);
}

void Unpickler::step(uint8_t opcode) {
  // Names as in CPython's Lib/pickle.py.
  switch (opcode) {
    case 0x80: {  // PROTO
      constexpr int kNewest = 5;
      if (const int version = uint8_t(take(1)[0]); version > kNewest) refuse("its protocol is {}", version);
      break;
    }
    case 0x95:  // FRAME: how much may be read at once
      take(8);
      break;
    case '.':  // STOP
      result_ = pop();
      stopped_ = true;
      break;
    case '(':  // MARK
      if (++pushed_ > kMaxValues) refuse("it has more than {} values", kMaxValues);
      marks_.push_back(stack_.size());
      break;
    case 'N':  // NONE
      push({.kind = Kind::kNone});
      break;
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      push({.kind = Kind::kBool, .word = opcode == 0x88});
      break;
    case 'J':  // BININT
      push_integer(number<int32_t>());
      break;
    case 'K':  // BININT1
      push_integer(number<uint8_t>());
      break;
    case 'M':  // BININT2
      push_integer(number<uint16_t>());
      break;
    case 0x8a: {  // LONG1: little-endian, as few bytes as it needs
      const auto bytes = number<uint8_t>();
      const std::string_view digits = take(bytes);
      int64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? -1 : 0;
      if (bytes > sizeof value) refuse("a number has {} bytes, more than 8", bytes);
      std::memcpy(&value, digits.data(), digits.size());
      push_integer(value);
      break;
    }
    case 'G':  // BINFLOAT: big-endian
      push({.kind = Kind::kReal, .word = __builtin_bswap64(number<uint64_t>())});
      break;
    case 'X':  // BINUNICODE
    case 'T':  // BINSTRING: Python 2's texts
      push_text(number<uint32_t>());
      break;
    case 0x8c:  // SHORT_BINUNICODE
    case 'U':   // SHORT_BINSTRING
      push_text(number<uint8_t>());
      break;
    case 0x8d:  // BINUNICODE8
      push_text(number<uint64_t>());
      break;
    case ')':  // EMPTY_TUPLE
      push_tuple(0);
      break;
    case 0x85:    // TUPLE1
    case 0x86:    // TUPLE2
    case 0x87: {  // TUPLE3
      const size_t count = opcode - 0x84;
      if (stack_.size() < (marks_.empty() ? 0 : marks_.back()) + count)
        refuse("it takes a value where there is none");
      push_tuple(count);
      break;
    }
    case 't':  // TUPLE
      push_tuple(stack_.size() - pop_mark());
      break;
    case ']':  // EMPTY_LIST
      push_container(Kind::kList);
      break;
    case 'a':  // APPEND
      append(Kind::kList, stack_.size() - std::min<size_t>(stack_.size(), 1));
      break;
    case 'e':  // APPENDS
      append(Kind::kList, pop_mark());
      break;
    case '}':  // EMPTY_DICT
      push_container(Kind::kDict);
      break;
    case 's':  // SETITEM
      append(Kind::kDict, stack_.size() - std::min<size_t>(stack_.size(), 2));
      break;
    case 'u':  // SETITEMS
      append(Kind::kDict, pop_mark());
      break;
    case 'q':  // BINPUT
      memoize(number<uint8_t>());
      break;
    case 'r':  // LONG_BINPUT
      memoize(number<uint32_t>());
      break;
    case 0x94:  // MEMOIZE
      memoize(memoized_);
      break;
    case 'h':  // BINGET
      recall(number<uint8_t>());
      break;
    case 'j':  // LONG_BINGET
      recall(number<uint32_t>());
      break;
    case 'c': {  // GLOBAL
      const std::string_view module = line();
      push_global(module, line());
      break;
    }
    case 0x93: {  // STACK_GLOBAL
      const Item name = pop(), module = pop();
      if (name.kind != Kind::kText || module.kind != Kind::kText) refuse("a name is no text");
      push_global(text_of(module), text_of(name));
      break;
    }
    case 'R':   // REDUCE
    case 0x81:  // NEWOBJ: for the classes in the table, the same
      reduce();
      break;
    case 'b':  // BUILD
      build();
      break;
    case 'Q':  // BINPERSID
      persistent_id();
      break;
    default:
      --at_;
      refuse("opcode {:#04x} is none of those that dicts of tensors are written with", opcode);
  }
}

void Unpickler::reduce() {
  const Item arguments = pop(), function = pop();
  if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple)
    refuse("it calls what is no function, or with what are no arguments");
  const Item* given = items_of(arguments);
  const PickleRole role = role_of(function.word);
  switch (role) {
    case PickleRole::kDict:
      push(make_dict(arguments));
      return;
    case PickleRole::kTensor:
    case PickleRole::kTensorV2:
    case PickleRole::kTensorV3: {
      if (role == PickleRole::kTensor) check_tensor(arguments, 4, 4);
      if (role == PickleRole::kTensorV2) check_tensor(arguments, 6, 7);
      if (role == PickleRole::kTensorV3) {
        check_tensor(arguments, 7, 8);
        if (given[6].kind != Kind::kGlobal || role_of(given[6].word) != PickleRole::kDType)
          refuse("a tensor has no dtype");
      }
      Item tensor = arguments;
      tensor.kind = Kind::kTensor;
      push(tensor);
      return;
    }
    case PickleRole::kParameter:
      if (arguments.count == 0 || given[0].kind != Kind::kTensor) refuse("a parameter is made of no tensor");
      push(given[0]);
      return;
    case PickleRole::kSize:
      if (arguments.count != 1 || given[0].kind != Kind::kTuple) refuse("a shape is made of no tuple");
      push(given[0]);
      return;
    case PickleRole::kStorage:
    case PickleRole::kUntyped:
    case PickleRole::kDType:
      break;
  }
  refuse("it calls a dtype or a storage");
}

/// Returns OrderedDict(), or OrderedDict([[key, value], ...]).
Unpickler::Item Unpickler::make_dict(const Item& arguments) {
  const Item dict = {.kind = Kind::kDict, .word = containers_.size()};
  std::vector<Item> items;
  if (arguments.count > 1) refuse("an OrderedDict is made of {} values", arguments.count);
  if (arguments.count == 1) {
    const Item pairs = items_of(arguments)[0];
    if (pairs.kind != Kind::kList) refuse("an OrderedDict is made of what is no list");
    for (const Item& pair : containers_[pairs.word]) {
      const bool is_list = pair.kind == Kind::kList, is_tuple = pair.kind == Kind::kTuple;
      const size_t count = is_list ? containers_[pair.word].size() : is_tuple ? pair.count : 0;
      if (count != 2) refuse("an OrderedDict is made of what are no pairs");
      const Item* two = is_list ? containers_[pair.word].data() : items_of(pair);
      items.insert(items.end(), two, two + 2);
      // The list may be there a thousand times, by its number in the memo: its copies count.
      if (++pushed_ > kMaxValues) refuse("it has more than {} values", kMaxValues);
    }
  }
  containers_.push_back(std::move(items));
  return dict;
}

/// Checks the arguments of _rebuild_tensor and its successors: storage, offset, size, stride, ...
void Unpickler::check_tensor(const Item& arguments, size_t least, size_t most) {
  if (arguments.count < least || arguments.count > most)
    refuse("a tensor is made of {} values", arguments.count);
  const Item* given = items_of(arguments);
  if (given[0].kind != Kind::kStorage || given[1].kind != Kind::kInteger || given[2].kind != Kind::kTuple ||
      given[3].kind != Kind::kTuple)
    refuse("a tensor is made of something else than a storage, an offset, a shape and strides");
  for (size_t list : {2, 3}) {
    for (size_t i = 0; i < given[list].count; ++i)
      if (items_of(given[list])[i].kind != Kind::kInteger) refuse("a shape or a stride is no number");
  }
  // Marks of lazy conjugation and negation.
  if (arguments.count == most && most > 6 && given[most - 1].kind != Kind::kNone &&
      (given[most - 1].kind != Kind::kDict || !containers_[given[most - 1].word].empty()))
    refuse("a tensor is a lazy view (conj or neg); save it after .resolve_neg()");
}

void Unpickler::build() {
  const Item state = pop();
  const Item target = pop();
  // The attributes of an OrderedDict (state dicts have _metadata) or the flags of a parameter. No tensor needs
  // them.
  const bool fits = (target.kind == Kind::kDict && state.kind == Kind::kDict) ||
                    (target.kind == Kind::kTensor && state.kind == Kind::kTuple);
  if (!fits) refuse("it sets attributes of what has none");
  stack_.push_back(target);
}

void Unpickler::persistent_id() {
  const Item id = pop();
  if (id.kind != Kind::kTuple || id.count == 0 || items_of(id)[0].kind != Kind::kText)
    refuse("it refers to something outside that is no storage");
  const Item* given = items_of(id);
  if (text_of(given[0]) != "storage") {
    fail<FileError>(
        "{}: holds a whole {}, which only its own Python code can read; save tensors alone in Python: "
        "torch.save(model.state_dict(), FILE)",
        path_, quote_name(text_of(given[0])));
  }
  const bool fits = (id.count == 5 || (id.count == 6 && given[5].kind == Kind::kNone)) &&
                    given[1].kind == Kind::kGlobal && given[2].kind == Kind::kText &&
                    given[3].kind == Kind::kText && given[4].kind == Kind::kInteger;
  const PickleRole role = fits ? role_of(given[1].word) : PickleRole::kDict;
  if (role != PickleRole::kStorage && role != PickleRole::kUntyped)
    refuse("a storage is described in a way that PyTorch has not had since 0.4");
  if (given[4].integer() < 0 || given[4].integer() > kMaxElements)
    refuse("a storage has {} elements", given[4].integer());
  push({.kind = Kind::kStorage, .word = storages_.size()});
  storages_.push_back({.type = role == PickleRole::kStorage ? &type_of(given[1].word) : nullptr,
                       .key = text_of(given[2]),
                       .elements = given[4].integer()});
}

// ---- From the machine's values to PickleValue ----

PickleValue Unpickler::value(const std::function<PickleValue(const PickledTensor&)>& make_tensor) {
  make_tensor_ = make_tensor;
  // By number in the memo a short pickle can repeat its parts, and the repeated parts again. Honest pickles
  // repeat texts and small tuples, in fewer bytes than they need for the values between.
  budget_ = 2 * uint64_t(at_) + 1024;
  return convert(result_, 0);
}

void Unpickler::spend(uint64_t amount) {
  if (amount > budget_)
    fail<FileError>("{}: the pickle repeats its parts so often that it would fill the memory", path_);
  budget_ -= amount;
}

PickleValue::List Unpickler::convert_all(const Item* first, size_t count, int depth) {
  spend(count);
  PickleValue::List list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(convert(first[i], depth + 1));
  return list;
}

PickleValue Unpickler::convert(const Item& item, int depth) {
  if (depth > kMaxPickleDepth)
    fail<FileError>("{}: the pickle's values nest more than {} deep", path_, kMaxPickleDepth);
  switch (item.kind) {
    case Kind::kNone:
      return {};
    case Kind::kBool:
      return item.word != 0;
    case Kind::kInteger:
      return item.integer();
    case Kind::kReal:
      return std::bit_cast<double>(item.word);
    case Kind::kText:
      spend(item.count);
      return std::string(text_of(item));
    case Kind::kTuple:
      return PickleValue::Tuple{convert_all(items_of(item), item.count, depth)};
    case Kind::kList: {
      const std::vector<Item>& items = containers_[item.word];
      return convert_all(items.data(), items.size(), depth);
    }
    case Kind::kDict:
      return convert_dict(containers_[item.word], depth);
    case Kind::kGlobal:
      if (role_of(item.word) == PickleRole::kDType) return "torch." + std::string(type_of(item.word).name);
      break;
    case Kind::kTensor:
      return convert_tensor(item);
    case Kind::kStorage:
    case Kind::kUnset:
      break;
  }
  fail<FileError>("{}: the pickle has a function, a class or a bare storage as a value", path_);
}

PickleValue Unpickler::convert_dict(const std::vector<Item>& items, int depth) {
  spend(items.size());
  PickleValue::Dict dict;
  dict.reserve(items.size() / 2);
  std::unordered_set<std::string_view> texts;
  std::unordered_set<int64_t> integers;
  for (size_t i = 0; i < items.size(); i += 2) {
    const Item& key = items[i];
    if (key.kind != Kind::kText && key.kind != Kind::kInteger)
      fail<FileError>("{}: a dict has a key that is neither a text nor a number", path_);
    const bool is_text = key.kind == Kind::kText;
    if (is_text ? !texts.insert(text_of(key)).second : !integers.insert(key.integer()).second)
      fail<FileError>("{}: a dict has the key {} twice", path_,
                      is_text ? quote_name(text_of(key)) : fmt::format("{}", key.integer()));
    dict.push_back({convert(key, depth), convert(items[i + 1], depth + 1)});
  }
  return dict;
}

Dims Unpickler::dims(const Item& tuple) {
  if (tuple.count > kMaxDims)
    fail<FileError>("{}: a tensor has {} dimensions; Taper's have at most {}", path_, tuple.count, kMaxDims);
  Dims result;
  for (size_t i = 0; i < tuple.count; ++i) result.push_back(items_of(tuple)[i].integer());
  return result;
}

PickleValue Unpickler::convert_tensor(const Item& item) {
  const auto [entry, fresh] = tensors_.try_emplace(item.word);
  if (!fresh) return entry->second;
  const Item* given = items_of(item);
  const PickledStorage& storage = storages_[given[0].word];
  const PickledType* type =
      item.count >= 7 && given[6].kind == Kind::kGlobal ? &type_of(given[6].word) : storage.type;
  if (type == nullptr) fail<FileError>("{}: a tensor has no dtype", path_);
  entry->second = make_tensor_({.storage = storage,
                                .type = type,
                                .offset = given[1].integer(),
                                .shape = dims(given[2]),
                                .strides = dims(given[3])});
  return entry->second;
}

}  // namespace taper::detail
