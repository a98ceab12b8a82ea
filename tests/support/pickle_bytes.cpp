#include "pickle_bytes.h"

#include <catch2/catch.hpp>
#include <functional>

#include "file_bytes.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/io/zip_file.h"
#include "taper/ops/copy/copy.h"

namespace taper::pickle {

std::string archive(const std::string& pickle, const std::vector<std::string>& storages,
                    const std::string& byteorder) {
  std::string bytes;
  detail::ZipWriter zip([&](std::string_view part) { bytes += part; });
  zip.add("archive/data.pkl", pickle);
  zip.add("archive/byteorder", byteorder);
  for (size_t i = 0; i < storages.size(); ++i) zip.add(fmt::format("archive/data/{}", i), storages[i]);
  zip.add("archive/version", "3\n");
  zip.finish();
  return bytes;
}

std::string text(const std::string& content) {
  REQUIRE(content.size() < 256);
  return std::string("X") + char(uint8_t(content.size())) + std::string(3, '\0') + content;
}
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string small(int value) {
  return std::string("K") + char(uint8_t(value));
}
std::string large(int64_t value) {
  return "\x8a\x08" + std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string storage(int elements, const std::string& type, const std::string& key) {
  return std::string("(") + text("storage") + global("torch", type) + text(key) + text("cpu") +
         small(elements) + "tQ";
}
std::string tensor(const std::string& of, const std::string& offset, const std::string& size,
                   const std::string& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + of + offset + size + "\x85" + stride +
         "\x85\x89" + global("collections", "OrderedDict") + ")RtR";
}
std::string dict_of(const std::string& value) {
  return "\x80\2}" + text("x") + value + "s.";
}

namespace {

void visit_tensors(const PickleValue& value, const std::function<void(const Tensor&)>& visit) {
  if (value.is<Tensor>()) visit(value.get<Tensor>());
  if (value.is<PickleValue::List>() || value.is<PickleValue::Tuple>())
    for (const PickleValue& item : value.items()) visit_tensors(item, visit);
  if (value.is<PickleValue::Dict>())
    for (const PickleEntry& entry : value.get<PickleValue::Dict>()) visit_tensors(entry.value, visit);
}

}  // namespace

std::string refusal(const TemporaryFolder& folder, const std::string& bytes) {
  const std::string path = folder / "hostile.pth";
  write_bytes(path, bytes);
  try {
    uint64_t sum = 0;
    visit_tensors(load_pytorch(path), [&](const Tensor& x) {  // every byte must be readable
      const Tensor whole = ops::contiguous(x);
      const auto* data = static_cast<const uint8_t*>(whole.data_ptr());
      for (size_t i = 0; i < whole.size_bytes(); ++i) sum += data[i];
    });
    return sum == UINT64_MAX ? "unreachable" : "";
  } catch (const FileError& error) {
    const std::string message = error.what();
    CHECK(message.starts_with(path + ": "));
    CHECK(message.find('\n') == std::string::npos);
    return message.substr(path.size());
  }
}

}  // namespace taper::pickle
