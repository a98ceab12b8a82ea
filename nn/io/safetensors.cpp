#include "taper/nn/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/nn/io/mapped_file.h"
#include "taper/nn/io/pytorch_file.h"
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

}  // namespace

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
          "{}: a file of PyTorch's torch.save(), not safetensors; load_pytorch() reads it, and "
          "`taper-convert FILE weights.safetensors` converts it",
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
      result.unreadable.emplace_hint(
          result.unreadable.end(), std::move(name),
          ForeignTensor{entry.foreign_dtype, {entry.shape.begin(), entry.shape.end()}});
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

void write_safetensors(const TensorMap& tensors, const Metadata& metadata,
                       const std::function<void(const void* data, size_t size_bytes)>& write) {
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

  write(&header_bytes, kLengthBytes);
  write(text.data(), text.size());
  for (const auto* named : order) {
    const Tensor tensor = ops::contiguous(ops::to_device(named->second, Device()));
    write(tensor.data_ptr(), tensor.size_bytes());
  }
}

void save_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata) {
  AtomicFile file(path);
  write_safetensors(tensors, metadata,
                    [&](const void* data, size_t size_bytes) { file.write(data, size_bytes); });
  file.commit();
}

}  // namespace taper
