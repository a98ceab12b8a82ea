#include "taper/core/algorithm_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "taper/core/atomic_file.h"
#include "taper/core/error.h"
#include "taper/core/warning.h"

namespace taper {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "taper algorithms";
constexpr int kVersionOfFormat = 1;

/// Keeps other processes out while it lives. The lock is on a file of its own, because the real one is
/// replaced by every write; the system lets go of it when a process dies.
class FileLock {
 public:
  explicit FileLock(const std::string& path) {
    const std::string lock_path = path + ".lock";
    fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int result = fd_ < 0 ? -1 : 0;
    while (fd_ >= 0 && (result = ::flock(fd_, LOCK_EX)) != 0 && errno == EINTR) {
    }
    if (result == 0) return;
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    fail<FileError>("{}: cannot be locked: {}", lock_path, std::generic_category().message(error));
  }
  ~FileLock() { ::close(fd_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

Json to_json(const AlgorithmRecord& record) {
  Json candidates = Json::array();
  for (const AlgorithmTiming& timing : record.candidates) {
    Json entry = {{"name", timing.name}};
    if (timing.median_ms > 0) entry["median_ms"] = timing.median_ms;
    if (!timing.rejected.empty()) entry["rejected"] = timing.rejected;
    if (timing.is_wrong) entry["is_wrong"] = true;
    candidates.push_back(entry);
  }
  return {{"problem", record.problem},
          {"environment", record.environment},
          {"winner", record.winner},
          {"verified", record.verified},
          {"candidates", candidates}};
}

/// Throws if members are missing or of another type.
AlgorithmRecord record_from(const Json& json) {
  AlgorithmRecord record{
      json.at("problem"), json.at("environment"), json.at("winner"), json.at("verified"), {}};
  for (const Json& entry : json.at("candidates"))
    record.candidates.push_back({.name = entry.at("name"),
                                 .median_ms = entry.value("median_ms", 0.0),
                                 .rejected = entry.value("rejected", std::string()),
                                 .is_wrong = entry.value("is_wrong", false)});
  return record;
}

AlgorithmTable parse(const std::string& text) {
  const Json json = Json::parse(text);
  if (json.at("format") != kFormat) fail("its format is {}", json.at("format").dump());
  if (json.at("version") != kVersionOfFormat) fail("its version is {}", json.at("version").dump());
  AlgorithmTable table;
  for (const Json& entry : json.at("records")) {
    const AlgorithmRecord record = record_from(entry);
    table[record.key()] = record;
  }
  return table;
}

std::string text_of(const AlgorithmTable& table) {
  Json records = Json::array();
  for (const auto& [key, record] : table) records.push_back(to_json(record));
  const Json json = {{"format", kFormat}, {"version", kVersionOfFormat}, {"records", records}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// What is in the file; nullopt if it is not there. Throws FileError for a folder or a device, which must not
/// be renamed or replaced.
std::optional<std::string> content_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    fail<FileError>("{}: not a file; leave TAPER_ALGORITHM_CACHE empty to keep measurements in memory", path);
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// With the lock held: so that no process puts aside the good file that another has just written.
AlgorithmTable read_locked(const std::string& path) {
  const auto text = content_of(path);
  if (!text) return {};
  try {
    return parse(*text);
  } catch (const std::exception& error) {
    const std::string aside = path + ".damaged";
    std::error_code failed;
    std::filesystem::rename(path, aside, failed);
    warn(fmt::format("{}: not a table of algorithms as this version writes it ({}); {}", path, error.what(),
                     failed ? "it cannot be renamed: " + failed.message() : "it is now " + aside));
    return {};
  }
}

}  // namespace

std::string AlgorithmRecord::key() const {
  std::string key = problem + "\n" + environment;
  for (const AlgorithmTiming& timing : candidates) key += "\n" + timing.name;
  return key;
}

AlgorithmTable AlgorithmFile::read() const {
  if (path_.empty()) return {};
  const auto text = content_of(path_);
  if (!text) return {};
  try {
    return parse(*text);
  } catch (const std::exception&) {
    const FileLock lock(path_);
    return read_locked(path_);
  }
}

AlgorithmTable AlgorithmFile::add(const AlgorithmRecord& record) const {
  if (path_.empty()) return {};
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  std::error_code failed;
  if (!folder.empty()) std::filesystem::create_directories(folder, failed);
  if (failed) fail<FileError>("{}: its folder cannot be made: {}", path_, failed.message());
  const FileLock lock(path_);
  AlgorithmTable table = read_locked(path_);
  table[record.key()] = record;
  write_file_atomically(path_, text_of(table));
  return table;
}

bool AlgorithmFile::remove() const {
  if (path_.empty()) return false;
  std::error_code failed;
  const bool removed = std::filesystem::remove(path_, failed);
  if (failed) fail<FileError>("{}: cannot be deleted: {}", path_, failed.message());
  return removed;
}

std::string default_algorithm_file() {
  if (const char* path = std::getenv("TAPER_ALGORITHM_CACHE")) return path;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return std::string(cache) + "/taper/algorithms.json";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return std::string(home) + "/.cache/taper/algorithms.json";
  return {};
}

}  // namespace taper
