#include "taper/core/algorithm_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "taper/core/atomic_file.h"
#include "taper/core/error.h"
#include "taper/core/file_lock.h"
#include "taper/core/warning.h"

namespace taper {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "taper algorithms";
constexpr int kVersionOfFormat = 1;

/// What the file holds.
struct Content {
  AlgorithmTable records;
  std::vector<AlgorithmFault> faults;
};

Json to_json(const AlgorithmRecord& record) {
  Json candidates = Json::array();
  for (const AlgorithmTiming& timing : record.candidates) {
    Json entry = {{"name", timing.name}};
    if (timing.median_ms > 0) entry["median_ms"] = timing.median_ms;
    if (!timing.rejected.empty()) entry["rejected"] = timing.rejected;
    if (timing.is_wrong) entry["is_wrong"] = true;
    if (timing.left_out) entry["left_out"] = true;
    candidates.push_back(entry);
  }
  Json json = {{"problem", record.problem},
               {"environment", record.environment},
               {"winner", record.winner},
               {"verified", record.verified}};
  if (record.seconds_allowed > 0) json["seconds_allowed"] = record.seconds_allowed;
  json["candidates"] = candidates;
  return json;
}

Json to_json(const AlgorithmFault& fault) {
  Json json = {{"problem", fault.problem},
               {"environment", fault.environment},
               {"algorithm", fault.algorithm},
               {"what", fault.what}};
  if (fault.suspected) json["suspected"] = true;
  return json;
}

/// Throws if members are missing or of another type.
AlgorithmRecord record_from(const Json& json) {
  AlgorithmRecord record{.problem = json.at("problem"),
                         .environment = json.at("environment"),
                         .winner = json.at("winner"),
                         .verified = json.at("verified"),
                         .seconds_allowed = json.value("seconds_allowed", 0.0),
                         .candidates = {}};
  for (const Json& entry : json.at("candidates"))
    record.candidates.push_back({.name = entry.at("name"),
                                 .median_ms = entry.value("median_ms", 0.0),
                                 .rejected = entry.value("rejected", std::string()),
                                 .is_wrong = entry.value("is_wrong", false),
                                 .left_out = entry.value("left_out", false)});
  return record;
}

Content parse(const std::string& text) {
  const Json json = Json::parse(text);
  if (json.at("format") != kFormat) fail("its format is {}", json.at("format").dump());
  if (json.at("version") != kVersionOfFormat) fail("its version is {}", json.at("version").dump());
  Content content;
  for (const Json& entry : json.at("records")) {
    const AlgorithmRecord record = record_from(entry);
    content.records[record.key()] = record;
  }
  for (const Json& entry : json.value("faults", Json::array()))
    content.faults.push_back({entry.at("problem"), entry.at("environment"), entry.at("algorithm"),
                              entry.at("what"), entry.value("suspected", false)});
  return content;
}

std::string text_of(const Content& content) {
  Json records = Json::array(), faults = Json::array();
  for (const auto& [key, record] : content.records) records.push_back(to_json(record));
  for (const AlgorithmFault& fault : content.faults) faults.push_back(to_json(fault));
  const Json json = {
      {"format", kFormat}, {"version", kVersionOfFormat}, {"records", records}, {"faults", faults}};
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
Content read_locked(const std::string& path) {
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

Content read_file(const std::string& path) {
  const auto text = content_of(path);
  if (!text) return {};
  try {
    return parse(*text);
  } catch (const std::exception&) {
    const FileLock lock(path);
    return read_locked(path);
  }
}

/// Replaces the file by what change(content) leaves, and returns that.
template <class Change>
Content change_file(const std::string& path, Change&& change) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failed;
  if (!folder.empty()) std::filesystem::create_directories(folder, failed);
  if (failed) fail<FileError>("{}: its folder cannot be made: {}", path, failed.message());
  const FileLock lock(path);
  Content content = read_locked(path);
  change(content);
  write_file_atomically(path, text_of(content));
  return content;
}

}  // namespace

std::string AlgorithmRecord::key() const {
  std::string key = problem + "\n" + environment;
  for (const AlgorithmTiming& timing : candidates) key += "\n" + timing.name;
  return key;
}

AlgorithmTable AlgorithmFile::read() const {
  return path_.empty() ? AlgorithmTable() : read_file(path_).records;
}

std::vector<AlgorithmFault> AlgorithmFile::faults() const {
  return path_.empty() ? std::vector<AlgorithmFault>() : read_file(path_).faults;
}

AlgorithmTable AlgorithmFile::add(const AlgorithmRecord& record) const {
  if (path_.empty()) return {};
  return change_file(path_, [&](Content& content) { content.records[record.key()] = record; }).records;
}

void AlgorithmFile::add(const AlgorithmFault& fault) const {
  if (path_.empty()) return;
  change_file(path_, [&](Content& content) {
    const auto same = std::find_if(content.faults.begin(), content.faults.end(),
                                   [&](const AlgorithmFault& other) { return other.is_of_same(fault); });
    if (same == content.faults.end()) {
      content.faults.push_back(fault);
    } else if (same->suspected) {
      *same = fault;
      same->suspected = false;
    }
  });
}

void AlgorithmFile::clear_suspicion(const AlgorithmFault& fault) const {
  if (path_.empty()) return;
  change_file(path_, [&](Content& content) {
    std::erase_if(content.faults,
                  [&](const AlgorithmFault& other) { return other.suspected && other.is_of_same(fault); });
  });
}

size_t AlgorithmFile::forget_faults() const {
  if (path_.empty()) return 0;
  size_t forgotten = 0;
  change_file(path_, [&](Content& content) { forgotten = std::exchange(content.faults, {}).size(); });
  return forgotten;
}

bool AlgorithmFile::remove() const {
  if (path_.empty()) return false;
  std::error_code failed;
  if (std::filesystem::is_directory(path_)) fail<FileError>("{}: is a folder", path_);
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
