#include "taper/nn/io/weights.h"

#include <algorithm>
#include <filesystem>

#include "taper/nn/io/mapped_file.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/io/safetensors.h"

namespace taper {

bool is_pytorch_weights(const std::string& path) {
  // A safetensors file begins with the size of its header, whose lowest bytes may look like a zip archive's or
  // a pickle's; its ninth byte is always {.
  constexpr size_t kHeaderAt = 8;
  const MappedFile file(path);
  const std::string_view bytes(file.data(), file.size_bytes());
  return is_pytorch_file(bytes) && !bytes.substr(std::min(bytes.size(), kHeaderAt)).starts_with('{');
}

PickleValue value_of(const StateDict& state) {
  PickleValue::Dict dict;
  for (const auto& [name, tensor] : state.tensors) dict.push_back({name, tensor});
  for (const auto& [name, tensor] : state.unreadable) dict.push_back({name, tensor});
  return dict;
}

std::string weights_file(const std::string& path, WeightsOf which) {
  namespace fs = std::filesystem;
  std::error_code unknown;  // the file is then looked for where the path says
  if (!fs::is_directory(path, unknown)) return path;
  const fs::path average = fs::path(path) / "ema.safetensors";
  if (which == WeightsOf::kAverage && fs::exists(average, unknown)) return average.string();
  return (fs::path(path) / "model.safetensors").string();
}

std::optional<ModelDescription> read_description(const std::string& path) {
  if (is_pytorch_weights(path)) return std::nullopt;
  const Metadata metadata = load_safetensors(path).metadata;
  try {
    return model_description(metadata);
  } catch (const Error& error) {
    fail<FileError>("{}: {}", path, error.what());
  }
}

StateDict load_weights(const std::string& path_or_folder, const StateDictOptions& options) {
  const std::string path = weights_file(path_or_folder);
  try {
    return state_dict_of(is_pytorch_weights(path) ? load_pytorch(path) : value_of(load_safetensors(path)),
                         options);
  } catch (const FileError&) {
    throw;
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const Error& error) {
    fail<FileError>("{}: {}", path, error.what());
  }
}

}  // namespace taper
