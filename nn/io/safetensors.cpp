#include "taper/nn/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/nn/io/mapped_file.h"
#include "taper/nn/io/safetensors_header.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is used in place");

constexpr size_t kLengthBytes = 8;

Tensor tensor_over(const std::shared_ptr<MappedFile>& file, char* data,
                   const detail::SafetensorsEntry& entry) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size_of(entry.dtype) == 0;
  if (aligned) return from_blob(data, entry.shape, entry.dtype, [file] {});
  Tensor copy = empty(entry.shape, {.dtype = entry.dtype});
  if (copy.numel() > 0) std::memcpy(copy.data_ptr(), data, copy.size_bytes());
  return copy;
}

/// torch.save() writes a zip archive; before PyTorch 1.6 it wrote a pickle.
bool is_pytorch_file(std::string_view bytes) {
  return bytes.starts_with("PK\3\4") || bytes.starts_with("\x80\2");
}

[[noreturn]] void fail_unreadable(const std::string& name, const std::string& dtype) {
  fail("tensor {} has dtype {}, which Taper lacks; save it in another, as with .to(torch.float32)",
       quote_name(name), dtype);
}

}  // namespace

const Tensor& Safetensors::at(const std::string& name) const {
  if (const auto found = unreadable.find(name); found != unreadable.end()) {
    fail_unreadable(name, found->second);
  }
  const auto found = tensors.find(name);
  TAPER_CHECK(found != tensors.end(), "the file has no tensor {}", quote_name(name));
  return found->second;
}

const TensorMap& Safetensors::tensors_for(const TensorMap& needed) const {
  for (const auto& [name, dtype] : unreadable) {
    if (needed.contains(name)) fail_unreadable(name, dtype);
  }
  return tensors;
}

Safetensors load_safetensors(const std::string& path) {
  const auto file = std::make_shared<MappedFile>(path);
  if (file->size_bytes() < kLengthBytes) {
    fail<FileError>("{}: {} bytes are too few for a safetensors file", path, file->size_bytes());
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, file->data(), kLengthBytes);
  const uint64_t most = std::min<uint64_t>(file->size_bytes() - kLengthBytes, detail::kMaxSafetensorsHeader);
  if (header_bytes > most) {
    if (is_pytorch_file({file->data(), file->size_bytes()}))
      fail<FileError>(
          "{}: a file of PyTorch's torch.save(), not safetensors; convert it in Python: "
          "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')",
          path);
    fail<FileError>("{}: not a safetensors file, or truncated: a header of {} bytes where at most {} can be",
                    path, header_bytes, most);
  }
  const std::string_view text(file->data() + kLengthBytes, header_bytes);
  if (text.empty() || text[0] != '{') {
    fail<FileError>("{}: not a safetensors file: its header does not begin with {{", path);
  }
  char* data = file->data() + kLengthBytes + header_bytes;
  const uint64_t data_bytes = file->size_bytes() - kLengthBytes - header_bytes;

  detail::SafetensorsHeader header = detail::parse_safetensors_header(text, data_bytes, path);
  Safetensors result;
  result.metadata = std::move(header.metadata);
  while (!header.entries.empty()) {  // frees each entry before the next tensor is made
    auto node = header.entries.extract(header.entries.begin());
    std::string& name = node.key();
    const detail::SafetensorsEntry& entry = node.mapped();
    if (!entry.foreign_dtype.empty()) {
      result.unreadable.emplace_hint(result.unreadable.end(), std::move(name), entry.foreign_dtype);
      continue;
    }
    if (entry.dtype == kBool) {
      // Any other byte in a C++ bool is undefined behaviour, which would show far from here.
      const bool clean =
          std::all_of(data + entry.begin, data + entry.end, [](char c) { return c == 0 || c == 1; });
      if (!clean) fail<FileError>("{}: BOOL tensor {} has bytes besides 0 and 1", path, quote_name(name));
    }
    result.tensors.emplace_hint(result.tensors.end(), std::move(name),
                                tensor_over(file, data + entry.begin, entry));
  }
  return result;
}

void save_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata) {
  // The widest elements first, then by name. The header has a multiple of eight bytes, so all are aligned.
  std::vector<const TensorMap::value_type*> order;
  for (const auto& named : tensors) {
    TAPER_CHECK(named.second.defined(), "save_safetensors: tensor {} is undefined", quote_name(named.first));
    order.push_back(&named);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });

  detail::SafetensorsHeader header{.entries = {}, .metadata = metadata};
  uint64_t end = 0;
  for (const auto* named : order) {
    const auto& [name, tensor] = *named;
    const uint64_t begin = end;
    end += tensor.size_bytes();
    header.entries[name] = {.dtype = tensor.dtype(), .shape = tensor.shape(), .begin = begin, .end = end};
  }
  const std::string text = detail::format_safetensors_header(header);
  const uint64_t header_bytes = text.size();

  AtomicFile file(path);
  file.write(&header_bytes, kLengthBytes);
  file.write(text);
  for (const auto* named : order) {
    const Tensor tensor = ops::contiguous(ops::to_device(named->second, Device()));
    file.write(tensor.data_ptr(), tensor.size_bytes());
  }
  file.commit();
}

}  // namespace taper
