#include "taper/nn/io/pickle_writer.h"

#include <bit>
#include <concepts>
#include <map>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper::detail {
namespace {

constexpr char kProto = '\x80', kStop = '.', kMark = '(', kNone = 'N', kTrue = '\x88', kFalse = '\x89',
               kBinInt1 = 'K', kBinInt = 'J', kLong1 = '\x8a', kBinFloat = 'G', kBinUnicode = 'X',
               kEmptyTuple = ')', kTuple1 = '\x85', kTuple = 't', kEmptyList = ']', kAppends = 'e',
               kEmptyDict = '}', kSetItems = 'u', kGlobal = 'c', kReduce = 'R', kBinPersId = 'Q',
               kBinPut = 'q', kBinGet = 'h';

class PickleWriter {
 public:
  PickleWriter(std::string_view op, const std::function<PickledTensor(const Tensor&)>& describe)
      : op_(op), describe_(describe) {}

  std::string write(const PickleValue& value) {
    text_ = {kProto, 2};
    put(value, 0);
    text_ += kStop;
    return std::move(text_);
  }

 private:
  template <class T>
  void append(const T& number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof number);
  }

  void put(const PickleValue& value, int depth) {
    TAPER_CHECK(depth <= kMaxPickleDepth, "{}: the values nest more than {} deep", op_, kMaxPickleDepth);
    std::visit([&](const auto& content) { put_content(content, depth); }, value.content());
  }

  void put_content(std::monostate, int) { text_ += kNone; }
  void put_content(bool value, int) { text_ += value ? kTrue : kFalse; }
  void put_content(int64_t value, int) { put_integer(value); }
  void put_content(double value, int) {
    text_ += kBinFloat;
    append(__builtin_bswap64(std::bit_cast<uint64_t>(value)));
  }
  void put_content(const std::string& text, int) { put_text(text); }
  void put_content(const Tensor& tensor, int) {
    TAPER_CHECK(tensor.defined(), "{}: a tensor is undefined", op_);
    put_tensor(describe_(tensor));
  }
  void put_content(const ForeignTensor& tensor, int) {
    fail("{}: a tensor has dtype {}, which Taper lacks", op_, tensor.dtype);
  }
  void put_content(const PickleValue::List& items, int depth) {
    text_ += kEmptyList;
    if (items.empty()) return;
    text_ += kMark;
    for (const PickleValue& item : items) put(item, depth + 1);
    text_ += kAppends;
  }
  void put_content(const PickleValue::Tuple& tuple, int depth) {
    if (tuple.items.size() > 3) text_ += kMark;
    for (const PickleValue& item : tuple.items) put(item, depth + 1);
    end_tuple(tuple.items.size());
  }
  void put_content(const PickleValue::Dict& dict, int depth) {
    text_ += kEmptyDict;
    if (dict.empty()) return;
    text_ += kMark;
    for (const PickleEntry& entry : dict) {
      TAPER_CHECK(entry.key.is<std::string>() || entry.key.is<int64_t>(),
                  "{}: a dict's key is {}, neither a text nor a number", op_, entry.key.describe());
      put(entry.key, depth + 1);
      put(entry.value, depth + 1);
    }
    text_ += kSetItems;
  }

  void put_integer(int64_t value) {
    if (value >= 0 && value <= UINT8_MAX) {
      text_ += kBinInt1;
      append(uint8_t(value));
    } else if (std::in_range<int32_t>(value)) {
      text_ += kBinInt;
      append(int32_t(value));
    } else {
      text_ += kLong1;
      append(uint8_t(sizeof value));
      append(value);
    }
  }
  void put_text(std::string_view text) {
    TAPER_CHECK(is_utf8(text), "{}: the text {} is not valid UTF-8", op_, quote_name(text));
    TAPER_CHECK(text.size() <= UINT32_MAX, "{}: a text has {} bytes", op_, text.size());
    text_ += kBinUnicode;
    append(uint32_t(text.size()));
    text_ += text;
  }
  /// Writes a name of Python's, and later its number in the memo.
  void put_global(const std::string& module, std::string_view name) {
    const auto [entry, fresh] =
        globals_.try_emplace(fmt::format("{}\n{}\n", module, name), uint8_t(globals_.size()));
    if (fresh) {
      text_ += kGlobal;
      text_ += entry->first;
    }
    text_ += fresh ? kBinPut : kBinGet;
    append(entry->second);
  }
  void end_tuple(size_t size) {
    text_ += size == 0 ? kEmptyTuple : size > 3 ? kTuple : char(uint8_t(kTuple1) + size - 1);
  }
  void put_dims(const Dims& dims) {
    if (dims.size() > 3) text_ += kMark;
    for (const int64_t value : dims) put_integer(value);
    end_tuple(size_t(dims.size()));
  }

  /// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks), as Tensor.__reduce_ex__
  /// of torch/_tensor.py writes it.
  void put_tensor(const PickledTensor& tensor) {
    put_global("torch._utils", "_rebuild_tensor_v2");
    text_ += kMark;
    text_ += kMark;
    put_text("storage");
    put_global("torch", tensor.type->storage_class);
    put_text(tensor.storage.key);
    put_text("cpu");
    put_integer(tensor.storage.elements);
    text_ += kTuple;
    text_ += kBinPersId;
    put_integer(tensor.offset);
    put_dims(tensor.shape);
    put_dims(tensor.strides);
    text_ += kFalse;
    put_global("collections", "OrderedDict");
    text_ += kEmptyTuple;
    text_ += kReduce;
    text_ += kTuple;
    text_ += kReduce;
  }

  std::string_view op_;
  const std::function<PickledTensor(const Tensor&)>& describe_;
  std::string text_;
  std::map<std::string, uint8_t> globals_;  // ten at most: two names and the storages of eight dtypes
};

}  // namespace

std::string write_pickle(const PickleValue& value, std::string_view op,
                         const std::function<PickledTensor(const Tensor&)>& describe) {
  return PickleWriter(op, describe).write(value);
}

}  // namespace taper::detail
