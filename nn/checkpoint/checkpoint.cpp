#include "taper/nn/checkpoint/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/files/file_descriptor.h"
#include "taper/nn/io/mapped_file.h"
#include "taper/version.h"

namespace taper {
namespace {

using Json = nlohmann::json;

constexpr const char* kIndexName = "checkpoint.json";
constexpr int kFormatVersion = 1;

std::string path_in(const std::string& folder, std::string_view name) {
  return fmt::format("{}/{}", folder, name);
}

uint32_t crc32_of(uint32_t before, const void* data, size_t size_bytes) {
  if (size_bytes == 0) return before;  // zlib takes a null pointer for a new beginning
  return uint32_t(::crc32_z(before, static_cast<const unsigned char*>(data), size_bytes));
}

/// A file that counts and sums what it is given.
class SummedFile {
 public:
  explicit SummedFile(std::string path)
      : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
    if (!fd_.is_open()) fail_to_write(errno);
  }

  void write(const void* data, size_t size_bytes) {
    if (const int error = fd_.write(data, size_bytes)) fail_to_write(error);
    size_bytes_ += size_bytes;
    crc32_ = crc32_of(crc32_, data, size_bytes);
  }

  /// Flushes to disk and closes. Returns the entry for checkpoint.json.
  Json close() {
    if (::fsync(fd_.get()) != 0 && errno != EINVAL) fail_to_write(errno);
    if (const int error = fd_.close()) fail_to_write(error);
    return {{"bytes", size_bytes_}, {"crc32", crc32_}};
  }

 private:
  [[noreturn]] void fail_to_write(int error) const {
    fail<FileError>("{}: cannot be written: {}", path_, std::generic_category().message(error));
  }

  std::string path_;
  FileDescriptor fd_;
  uint64_t size_bytes_ = 0;
  uint32_t crc32_ = 0;
};

// JSON has no infinity and no NaN; texts stand for them.

Json json_of(double number) {
  if (std::isfinite(number)) return number;
  return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
}

double number_of(const Json& value) {
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  return value.get<double>();
}

Json json_of(const Checkpoint& checkpoint, const CheckpointOrder& order) {
  Json parts = Json::object();
  for (const auto& [name, state] : checkpoint.parts) {
    Json numbers = Json::object();
    for (const auto& [key, number] : state.numbers) numbers[key] = json_of(number);
    parts[name] = {{"numbers", numbers}, {"has_tensors", !state.tensors.empty()}};
  }
  return {{"format_version", kFormatVersion},
          {"taper", kVersion},
          {"serial", order.serial},
          {"best", order.best},
          {"generator", {{"seed", checkpoint.generator.seed}, {"counter", checkpoint.generator.counter}}},
          {"options", checkpoint.options},
          {"must_match", checkpoint.must_match},
          {"description", checkpoint.description},
          {"parts", parts}};
}

/// Any bytes may be in the names of files that options hold.
std::string text_of(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Calls `read`, which reads the content of checkpoint.json. Throws FileError for content that does not fit.
template <class Read>
auto read_fields(const std::string& path, const Read& read) {
  try {
    return read();
  } catch (const Json::exception& error) {
    std::string reason = error.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
    if (const size_t id = reason.find("] "); id != std::string::npos) reason.erase(0, id + 2);
    fail<FileError>("{}: damaged, or of another program: {}", path, reason);
  }
}

/// Returns the content of checkpoint.json once its checksum is right.
Json read_index(const std::string& folder) {
  const std::string path = path_in(folder, kIndexName);
  const MappedFile file(path);
  return read_fields(path, [&] {
    const Json whole = Json::parse(file.data(), file.data() + file.size_bytes());
    Json content = whole.at("content");
    const std::string text = text_of(content);
    if (crc32_of(0, text.data(), text.size()) != whole.at("crc32").get<uint32_t>())
      fail<FileError>("{}: damaged: its checksum is wrong", path);
    const int version = content.at("format_version").get<int>();
    if (version > kFormatVersion)
      fail<FileError>("{}: of a newer Taper ({}); this one reads format {}", path, version, kFormatVersion);
    return content;
  });
}

/// Throws FileError unless the file has the size and the checksum of its entry.
void check_sum(const std::string& path, const Json& entry) {
  const MappedFile file(path);
  const auto bytes = entry.at("bytes").get<uint64_t>();
  if (file.size_bytes() != bytes)
    fail<FileError>("{}: damaged: {} bytes instead of {}", path, file.size_bytes(), bytes);
  if (crc32_of(0, file.data(), file.size_bytes()) != entry.at("crc32").get<uint32_t>())
    fail<FileError>("{}: damaged: its checksum is wrong", path);
}

}  // namespace

const SavedState& Checkpoint::part(const std::string& name) const {
  const auto found = parts.find(name);
  TAPER_CHECK(found != parts.end(), "the checkpoint has no part '{}'", name);
  return found->second;
}

void write_checkpoint(const std::string& folder, const Checkpoint& checkpoint, const CheckpointOrder& order) {
  Json content = json_of(checkpoint, order);
  Json files = Json::object();
  for (const auto& [name, state] : checkpoint.parts) {
    if (state.tensors.empty()) continue;
    const std::string file_name = name + ".safetensors";
    SummedFile file(path_in(folder, file_name));
    write_safetensors(state.tensors, checkpoint.description,
                      [&](const void* data, size_t size_bytes) { file.write(data, size_bytes); });
    files[file_name] = file.close();
  }
  if (checkpoint.expected) {
    std::vector<Tensor> weights;
    for (const std::string& name : checkpoint.expected->names)
      weights.push_back(checkpoint.part("model").tensors.at(name));
    if (weights_checksum(weights) != checkpoint.expected->sum)
      fail<FileError>("{}: the weights changed in memory while they were being saved; they are left out",
                      folder);
  }
  content["files"] = files;
  const std::string text = text_of(content);
  const Json whole = {{"content", Json::parse(text)}, {"crc32", crc32_of(0, text.data(), text.size())}};
  const std::string pretty = text_of(whole, 1) + "\n";
  SummedFile index(path_in(folder, kIndexName));
  index.write(pretty.data(), pretty.size());
  index.close();
}

Checkpoint read_checkpoint(const std::string& folder) {
  const Json index = read_index(folder);
  return read_fields(path_in(folder, kIndexName), [&] {
    Checkpoint result;
    for (const auto& [file_name, entry] : index.at("files").items())
      check_sum(path_in(folder, file_name), entry);
    for (const auto& [name, part] : index.at("parts").items()) {
      SavedState& state = result.parts[name];
      for (const auto& [key, number] : part.at("numbers").items()) state.numbers[key] = number_of(number);
      if (part.at("has_tensors").get<bool>())
        state.tensors = load_safetensors(path_in(folder, name + ".safetensors")).tensors;
    }
    result.generator = {.seed = index.at("generator").at("seed").get<uint64_t>(),
                        .counter = index.at("generator").at("counter").get<uint64_t>()};
    index.at("options").get_to(result.options);
    index.at("must_match").get_to(result.must_match);
    index.at("description").get_to(result.description);
    return result;
  });
}

CheckpointOrder read_checkpoint_order(const std::string& folder) {
  const Json index = read_index(folder);
  return read_fields(path_in(folder, kIndexName), [&] {
    CheckpointOrder order{.serial = index.at("serial").get<int64_t>(), .best = index.at("best").get<bool>()};
    for (const auto& [name, entry] : index.at("files").items()) {
      std::error_code missing;
      const uint64_t bytes = std::filesystem::file_size(path_in(folder, name), missing);
      order.complete = order.complete && !missing && bytes == entry.at("bytes").get<uint64_t>();
    }
    return order;
  });
}

std::string checked_weights_file(const std::string& path, WeightsOf which) {
  if (!is_checkpoint(path)) {
    if (is_checkpoint(path + "/last"))
      fail<FileError>("{}: a folder of checkpoints; name one of them: {}/best, for example", path, path);
    return weights_file(path, which);
  }
  const Json index = read_index(path);
  return read_fields(path_in(path, kIndexName), [&] {
    const Json& files = index.at("files");
    const bool average = which == WeightsOf::kAverage && files.contains("ema.safetensors");
    const std::string name = average ? "ema.safetensors" : "model.safetensors";
    check_sum(path_in(path, name), files.at(name));
    return path_in(path, name);
  });
}

bool is_checkpoint(const std::string& folder) {
  std::error_code unknown;
  return std::filesystem::exists(path_in(folder, kIndexName), unknown);
}

}  // namespace taper
