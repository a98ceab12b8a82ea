#include "taper/ops/algorithms/plan_store.h"

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/private_folder.h"

namespace taper {
namespace {

/// FNV-1a.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001b3;
  return hash;
}

/// What precedes the bytes in a file: their key and their hash.
std::string header(const std::string& key, std::string_view bytes) {
  return fmt::format("taper plan 1\n{}\n{:016x}\n", key, hash_of(bytes));
}

/// Returns the bytes in the content of a file; nothing unless it is a whole file of this key.
std::optional<std::string> bytes_in(const std::string& content, const std::string& key) {
  const size_t length = header(key, {}).size();  // the length does not depend on the bytes
  if (content.size() < length) return std::nullopt;
  std::string bytes = content.substr(length);
  if (content.compare(0, length, header(key, bytes)) != 0) return std::nullopt;
  return bytes;
}

}  // namespace

std::optional<std::string> PlanStore::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream file(path_of(key), std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream content;
  content << file.rdbuf();
  if (file.bad() || content.bad()) return std::nullopt;  // unknown content, not damaged
  std::optional<std::string> bytes = bytes_in(content.str(), key);
  if (!bytes) set_aside(key, "it is damaged or another's");
  return bytes;
}

void PlanStore::keep(const std::string& key, const std::string& bytes) const {
  if (folder_.empty()) return;
  try {
    make_private_folder(folder_);
    write_file_atomically(path_of(key), header(key, bytes) + bytes);
  } catch (const FileError& error) {
    warn(fmt::format("{}; other processes will make the plan again", error.what()));
  }
}

void PlanStore::set_aside(const std::string& key, const std::string& why) const {
  const std::string path = path_of(key), aside = path + ".damaged";
  std::error_code failed;
  std::filesystem::rename(path, aside, failed);
  warn(fmt::format("{}: this plan cannot be used: {}; {}", path, why,
                   failed ? "it cannot be renamed: " + failed.message() : "it is now " + aside));
}

std::string PlanStore::path_of(const std::string& key) const {
  return fmt::format("{}/{:016x}.plan", folder_, hash_of(key));
}

}  // namespace taper
