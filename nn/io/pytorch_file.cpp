#include "taper/nn/io/pytorch_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/nn/io/mapped_file.h"
#include "taper/nn/io/pickle_reader.h"
#include "taper/nn/io/pickle_writer.h"
#include "taper/nn/io/zip_file.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

static_assert(std::endian::native == std::endian::little, "the tensors' bytes are used in place");

constexpr std::string_view kZipStart = "PK\3\4";
/// 0x1950a86a20f9469cfc6c, as the pickle of the older format's first value ends.
constexpr std::string_view kMagicNumber = "\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
constexpr int64_t kOldVersion = 1001;

/// The elements of storages, by key: parts of the file.
using StorageBytes = std::unordered_map<std::string_view, std::string_view>;

/// Makes tensors over a file's storages.
class TensorMaker {
 public:
  TensorMaker(std::shared_ptr<MappedFile> file, const std::string& path, StorageBytes bytes)
      : file_(std::move(file)), path_(path), bytes_(std::move(bytes)) {
    constexpr uint64_t kTimes = 16, kAlways = uint64_t(1) << 20;
    budget_ = kTimes * file_->size_bytes() + kAlways;
  }

  PickleValue make(const detail::PickledTensor& tensor) {
    const int64_t span = check(tensor);
    if (!tensor.type->dtype)
      return ForeignTensor{std::string(tensor.type->name), {tensor.shape.begin(), tensor.shape.end()}};
    auto impl = std::make_shared<TensorImpl>();
    impl->storage = storage_of(tensor, span);
    impl->storage_offset = tensor.offset;
    impl->shape = tensor.shape;
    impl->strides = tensor.strides;
    impl->numel = numel(tensor.shape);
    impl->dtype = *tensor.type->dtype;
    impl->is_inference = detail::inference_mode_flag();
    return Tensor(std::move(impl));
  }

 private:
  struct Made {
    std::shared_ptr<Storage> storage;
    const detail::PickledType* type;
  };

  /// Checks that the tensor lies in its storage. Returns how many elements it spans.
  int64_t check(const detail::PickledTensor& tensor) {
    constexpr int kMaxTensors = 1 << 18;
    if (++count_ > kMaxTensors) fail<FileError>("{}: the file has more than {} tensors", path_, kMaxTensors);
    int64_t span = 0, elements = 0;
    try {
      span = span_of(tensor.shape, tensor.strides, "a tensor");
      elements = numel(tensor.shape);
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      fail<FileError>("{}: {}", path_, error.what());
    }
    const auto size = int64_t(tensor.type->size_bytes);
    const int64_t held = tensor.storage.elements * int64_t(tensor.storage.element_bytes()) / size;
    if (tensor.offset < 0 || tensor.offset > held || span > held - tensor.offset)
      fail<FileError>("{}: a tensor {} with strides {} at offset {} reaches past its storage of {} elements",
                      path_, tensor.shape, tensor.strides, tensor.offset, held);
    // A stride of 0, or storages that many tensors view, let a few bytes stand for any number of them.
    const uint64_t bytes = uint64_t(elements) * uint64_t(size);
    if (bytes > budget_)
      fail<FileError>("{}: its tensors have more than 16 times the file's {} bytes", path_,
                      file_->size_bytes());
    budget_ -= bytes;
    return span;
  }

  const std::shared_ptr<Storage>& storage_of(const detail::PickledTensor& tensor, int64_t span) {
    const auto [entry, fresh] = made_.try_emplace(tensor.storage.key);
    Made& made = entry->second;
    if (!fresh) {
      const uint64_t bytes = uint64_t(tensor.storage.elements) * tensor.storage.element_bytes();
      if (made.type != tensor.type || made.storage->size_bytes() != bytes)
        fail<FileError>("{}: storage {} is there with two dtypes or sizes", path_,
                        quote_name(tensor.storage.key));
      return made.storage;
    }
    made = {.storage = make_storage(tensor.storage, *tensor.type->dtype, span), .type = tensor.type};
    return made.storage;
  }

  std::shared_ptr<Storage> make_storage(const detail::PickledStorage& storage, DType dtype, int64_t span) {
    const auto found = bytes_.find(storage.key);
    const uint64_t needed = uint64_t(storage.elements) * storage.element_bytes();
    if (found == bytes_.end() && (needed > 0 || span > 0))
      fail<FileError>("{}: the file lacks the storage {}", path_, quote_name(storage.key));
    const std::string_view bytes = found == bytes_.end() ? std::string_view() : found->second;
    if (bytes.size() != needed)
      fail<FileError>("{}: storage {} has {} bytes in the file, where {} were expected", path_,
                      quote_name(storage.key), bytes.size(), needed);
    if (dtype == kBool && !std::ranges::all_of(bytes, [](char c) { return c == 0 || c == 1; }))
      // Any other byte in a C++ bool is undefined behaviour, which would show far from here.
      fail<FileError>("{}: bool storage {} has bytes besides 0 and 1", path_, quote_name(storage.key));
    if (reinterpret_cast<uintptr_t>(bytes.data()) % size_of(dtype) == 0) {
      char* data = file_->data() + (bytes.empty() ? 0 : bytes.data() - file_->data());
      return std::make_shared<Storage>(data, bytes.size(), Device(), [file = file_] {});
    }
    auto copy = std::make_shared<Storage>(bytes.size(), Device());
    if (!bytes.empty()) std::memcpy(copy->data(), bytes.data(), bytes.size());
    return copy;
  }

  std::shared_ptr<MappedFile> file_;
  const std::string& path_;
  StorageBytes bytes_;
  std::unordered_map<std::string_view, Made> made_;
  uint64_t budget_ = 0;
  int count_ = 0;
};

PickleValue make_value(detail::Unpickler& unpickler, TensorMaker maker) {
  return unpickler.value([&](const detail::PickledTensor& tensor) { return maker.make(tensor); });
}

/// Today's format. The members' names begin with a folder: NAME/data.pkl, NAME/data/0, NAME/byteorder, ...
PickleValue load_zip(const std::shared_ptr<MappedFile>& file, const std::string& path) {
  const std::vector<detail::ZipMember> members = detail::read_zip({file->data(), file->size_bytes()}, path);
  if (members.empty()) fail<FileError>("{}: an empty zip archive, not a file of torch.save()", path);
  const std::string_view first = members[0].name;
  const std::string_view folder = first.substr(0, first.find('/') + 1);
  StorageBytes storages;
  std::optional<std::string_view> pickle;
  bool is_script = false;
  for (const detail::ZipMember& member : members) {
    if (!member.name.starts_with(folder)) continue;
    const std::string_view name = member.name.substr(folder.size());
    constexpr std::string_view kData = "data/";
    if (name == "data.pkl") pickle = member.data;
    if (name == "constants.pkl") is_script = true;
    if (name == "byteorder" && member.data != "little")
      fail<FileError>("{}: its tensors are {}-endian; save it on a little-endian machine", path,
                      shortened(member.data, 16));
    if (name.starts_with(kData)) storages[name.substr(kData.size())] = member.data;
  }
  if (is_script)
    fail<FileError>(
        "{}: a TorchScript archive; save its tensors in Python: "
        "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
        path);
  if (!pickle) fail<FileError>("{}: a zip archive without data.pkl, not a file of torch.save()", path);
  detail::Unpickler unpickler(*pickle, path);
  return make_value(unpickler, TensorMaker(file, path, std::move(storages)));
}

/// The older format: pickles of a magic number, a version, a description of the machine, the value and the
/// storages' keys; then each storage, in the order of the keys, as 8 bytes that say how many elements it has,
/// and the elements.
class OldFormat {
 public:
  OldFormat(std::shared_ptr<MappedFile> file, const std::string& path)
      : file_(std::move(file)), path_(path), rest_(file_->data(), file_->size_bytes()) {}

  PickleValue load() {
    constexpr size_t kLongestStart = 32;  // of protocol 2 it is at byte 2; others put a frame before it
    const size_t magic = rest_.substr(0, kLongestStart).find(kMagicNumber);
    if (magic == std::string_view::npos)
      fail<FileError>("{}: a pickle, but not a file of torch.save()", path_);
    rest_.remove_prefix(magic + kMagicNumber.size());
    if (const PickleValue version = plain_value();
        !version.is<int64_t>() || version.get<int64_t>() != kOldVersion)
      fail<FileError>("{}: its version is {}, not {}", path_, version.describe(), kOldVersion);
    const PickleValue machine = plain_value();
    const PickleValue* little_endian = machine.find("little_endian");
    if (little_endian == nullptr || !little_endian->is<bool>() || !little_endian->get<bool>())
      fail<FileError>("{}: its tensors are big-endian; save it on a little-endian machine", path_);
    detail::Unpickler unpickler(rest_, path_);
    rest_.remove_prefix(unpickler.size_bytes());
    const PickleValue keys = plain_value();
    return make_value(unpickler, TensorMaker(file_, path_, find_storages(unpickler, keys)));
  }

 private:
  /// Reads a pickle without tensors.
  PickleValue plain_value() {
    detail::Unpickler unpickler(rest_, path_);
    rest_.remove_prefix(unpickler.size_bytes());
    return unpickler.value([&](const detail::PickledTensor&) -> PickleValue {
      fail<FileError>("{}: a tensor where the older format has none; the file is damaged", path_);
    });
  }

  StorageBytes find_storages(const detail::Unpickler& unpickler, const PickleValue& keys) {
    std::unordered_map<std::string_view, uint64_t> element_bytes;
    for (const detail::PickledStorage& storage : unpickler.storages())
      element_bytes.try_emplace(storage.key, storage.element_bytes());
    if (!keys.is<PickleValue::List>()) fail<FileError>("{}: it lacks the list of its storages", path_);
    StorageBytes storages;
    for (const PickleValue& key : keys.items()) {
      const auto* name = std::get_if<std::string>(&key.content());
      const auto known = name == nullptr ? element_bytes.end() : element_bytes.find(*name);
      if (known == element_bytes.end())
        fail<FileError>("{}: it has a storage that no tensor uses; the file is damaged", path_);
      uint64_t elements = 0;
      if (rest_.size() < sizeof elements) fail_cut_off();
      std::memcpy(&elements, rest_.data(), sizeof elements);
      rest_.remove_prefix(sizeof elements);
      if (elements > rest_.size() / known->second) fail_cut_off();
      storages[known->first] = rest_.substr(0, elements * known->second);
      rest_.remove_prefix(elements * known->second);
    }
    if (!rest_.empty()) fail<FileError>("{}: {} bytes are left over at its end", path_, rest_.size());
    return storages;
  }
  [[noreturn]] void fail_cut_off() const {
    fail<FileError>("{}: it ends within its tensors; the file is truncated or damaged", path_);
  }

  std::shared_ptr<MappedFile> file_;
  const std::string& path_;
  std::string_view rest_;
};

/// A part of a storage that tensors of one dtype use, and its number in the file.
class StoragePart {
 public:
  /// Extends the part so that it holds the tensor.
  void cover(const Tensor& tensor) {
    const int64_t span = span_of(tensor.shape(), tensor.strides(), "save_pytorch");
    if (span == 0) return;
    begin_ = any_.defined() ? std::min(begin_, tensor.storage_offset()) : tensor.storage_offset();
    end_ = std::max(end_, tensor.storage_offset() + span);
    any_ = tensor;
  }
  int64_t begin() const { return begin_; }
  int64_t elements() const { return end_ - begin_; }
  /// Returns the elements as a tensor of one dimension on the CPU; undefined if there are none.
  Tensor content() const {
    if (!any_.defined()) return {};
    auto flat = std::make_shared<TensorImpl>();
    flat->storage = any_.storage();
    flat->storage_offset = begin_;
    flat->shape = {elements()};
    flat->strides = {1};
    flat->numel = elements();
    flat->dtype = any_.dtype();
    return ops::to_device(Tensor(std::move(flat)), Device());
  }
  std::string key;

 private:
  int64_t begin_ = 0, end_ = 0;
  Tensor any_;
};

/// The parts of storages that a value's tensors use, in the order in which they first appear.
class StorageParts {
 public:
  void collect(const PickleValue& value, int depth = kMaxPickleDepth) {
    if (depth < 0) return;  // write_pickle() refuses it
    if (const auto* tensor = std::get_if<Tensor>(&value.content())) {
      if (tensor->defined()) part_of(*tensor).cover(*tensor);
    } else if (const auto* list = std::get_if<PickleValue::List>(&value.content())) {
      for (const PickleValue& item : *list) collect(item, depth - 1);
    } else if (const auto* tuple = std::get_if<PickleValue::Tuple>(&value.content())) {
      for (const PickleValue& item : tuple->items) collect(item, depth - 1);
    } else if (const auto* dict = std::get_if<PickleValue::Dict>(&value.content())) {
      for (const PickleEntry& entry : *dict) collect(entry.value, depth - 1);
    }
  }
  detail::PickledTensor describe(const Tensor& tensor) {
    const StoragePart& part = *by_storage_.at(key_of(tensor));
    const detail::PickledType& type = detail::pickled_type(tensor.dtype());
    const bool has_elements = tensor.numel() > 0;
    return {.storage = {.type = &type, .key = part.key, .elements = part.elements()},
            .type = &type,
            .offset = has_elements ? tensor.storage_offset() - part.begin() : 0,
            .shape = tensor.shape(),
            .strides = tensor.strides()};
  }
  const std::vector<std::unique_ptr<StoragePart>>& all() const { return parts_; }

 private:
  using Key = std::pair<const Storage*, DType>;
  static Key key_of(const Tensor& tensor) { return {tensor.storage().get(), tensor.dtype()}; }

  StoragePart& part_of(const Tensor& tensor) {
    const auto [entry, fresh] = by_storage_.try_emplace(key_of(tensor));
    if (fresh) {
      parts_.push_back(std::make_unique<StoragePart>());
      parts_.back()->key = fmt::format("{}", parts_.size() - 1);
      entry->second = parts_.back().get();
    }
    return *entry->second;
  }

  std::map<Key, StoragePart*> by_storage_;
  std::vector<std::unique_ptr<StoragePart>> parts_;
};

}  // namespace

bool is_pytorch_file(std::string_view bytes) {
  return bytes.starts_with(kZipStart) || bytes.starts_with("\x80");
}

PickleValue load_pytorch(const std::string& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const std::string_view bytes(file->data(), file->size_bytes());
  if (bytes.starts_with(kZipStart)) return load_zip(file, path);
  if (is_pytorch_file(bytes)) return OldFormat(file, path).load();
  constexpr size_t kTarMark = 257;
  if (bytes.size() > kTarMark && bytes.substr(kTarMark).starts_with("ustar"))
    fail<FileError>("{}: a tar archive, as PyTorch wrote before 0.1.10; save it anew with a later version",
                    path);
  fail<FileError>("{}: not a file of PyTorch's torch.save()", path);
}

void save_pytorch(const std::string& path, const PickleValue& value) {
  StorageParts parts;
  parts.collect(value);
  const std::string pickle = detail::write_pickle(
      value, "save_pytorch", [&](const Tensor& tensor) { return parts.describe(tensor); });

  AtomicFile file(path);
  detail::ZipWriter zip([&](std::string_view bytes) { file.write(bytes); });
  // The members and their order are those of PyTorchStreamWriter; "3" is the version that all since 1.6 read.
  const std::string folder = "archive/";
  zip.add(folder + "data.pkl", pickle);
  zip.add(folder + "byteorder", "little");
  for (const auto& part : parts.all()) {
    const Tensor content = part->content();
    zip.add(folder + "data/" + part->key,
            content.defined()
                ? std::string_view(static_cast<const char*>(content.data_ptr()), content.size_bytes())
                : std::string_view());
  }
  zip.add(folder + "version", "3\n");
  zip.finish();
  file.commit();
}

void save_pytorch(const std::string& path, const TensorMap& tensors) {
  PickleValue::Dict dict;
  for (const auto& [name, tensor] : tensors) {
    TAPER_CHECK(tensor.defined(), "save_pytorch: tensor {} is undefined", quote_name(name));
    dict.push_back({name, tensor});
  }
  save_pytorch(path, PickleValue(std::move(dict)));
}

}  // namespace taper
