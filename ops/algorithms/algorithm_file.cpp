#include "taper/ops/algorithms/algorithm_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/core/base/warning.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/file_descriptor.h"
#include "taper/core/files/file_lock.h"
#include "taper/core/files/private_folder.h"

namespace taper {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "taper algorithms";
constexpr int kVersionOfFormat = 1;
constexpr int kDeepest = 16;            // nested arrays and objects; five are needed
constexpr size_t kLongestReason = 500;  // bytes of a library's message,
constexpr size_t kLongestQuote = 120;   // and of a damaged file in a warning

/// The content of the file.
struct Content {
  AlgorithmTable records;
  std::vector<AlgorithmFault> faults;
};

Json to_json(const AlgorithmRecord& record) {
  Json candidates = Json::array();
  for (const AlgorithmTiming& timing : record.candidates) {
    Json entry = {{"name", timing.name}};
    if (timing.median_ms > 0) entry["median_ms"] = timing.median_ms;
    if (!timing.rejected.empty()) entry["rejected"] = shortened(timing.rejected, kLongestReason);
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
               {"what", shortened(fault.what, kLongestReason)}};
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
    record.candidates.push_back(
        {.name = entry.at("name"),
         .median_ms = entry.value("median_ms", 0.0),
         .rejected = shortened(entry.value("rejected", std::string()), kLongestReason),
         .is_wrong = entry.value("is_wrong", false),
         .left_out = entry.value("left_out", false)});
  return record;
}

bool is_name(const std::string& text) {
  return !text.empty() && is_printable(text);
}

/// Throws Error unless the record makes sense.
void require_sense(const AlgorithmRecord& record) {
  TAPER_CHECK(is_name(record.problem) && is_name(record.environment),
              "a problem or its environment is empty or has control characters");
  const AlgorithmTiming* winner = nullptr;
  std::set<std::string> names;
  for (const AlgorithmTiming& timing : record.candidates) {
    TAPER_CHECK(is_name(timing.name), "{}: a candidate's name is empty or has control characters",
                record.problem);
    TAPER_CHECK(names.insert(timing.name).second, "{}: two candidates are called {}", record.problem,
                timing.name);
    TAPER_CHECK(std::isfinite(timing.median_ms) && timing.median_ms >= 0, "{}: {} took {} ms", record.problem,
                timing.name, timing.median_ms);
    if (timing.name == record.winner) winner = &timing;
  }
  TAPER_CHECK(winner != nullptr, "{}: the winner {} is no candidate", record.problem, record.winner);
  TAPER_CHECK(winner->rejected.empty() && !winner->left_out, "{}: the winner {} is rejected or was left out",
              record.problem, record.winner);
  TAPER_CHECK(std::isfinite(record.seconds_allowed) && record.seconds_allowed >= 0, "{}: {} seconds allowed",
              record.problem, record.seconds_allowed);
}

void require_sense(const AlgorithmFault& fault) {
  TAPER_CHECK(is_name(fault.problem) && is_name(fault.environment) && is_name(fault.algorithm),
              "a fault's problem, environment or algorithm is empty or has control characters");
}

AlgorithmFault fault_from(const Json& json) {
  AlgorithmFault fault{json.at("problem"), json.at("environment"), json.at("algorithm"),
                       shortened(json.at("what").get<std::string>(), kLongestReason),
                       json.value("suspected", false)};
  require_sense(fault);
  return fault;
}

Content parse(const std::string& text) {
  // The library's parser does not recurse into nested values, but later uses of its result do.
  const Json json = Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
    TAPER_CHECK(depth <= kDeepest, "more than {} levels are nested", kDeepest);
    return true;
  });
  if (json.at("format") != kFormat) fail("its format is {}", json.at("format").dump());
  if (json.at("version") != kVersionOfFormat) fail("its version is {}", json.at("version").dump());
  Content content;
  for (const Json& entry : json.at("records")) {
    const AlgorithmRecord record = record_from(entry);
    require_sense(record);
    content.records[record.key()] = record;
  }
  for (const Json& entry : json.value("faults", Json::array())) content.faults.push_back(fault_from(entry));
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

/// Returns what is in the file; nullopt if it does not exist. Throws FileError for a folder or a device,
/// which must not be renamed or replaced.
std::optional<std::string> content_of(const std::string& path) {
  // Opens the name once and asks the file that it got: other processes rename and replace it meanwhile.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file.is_open() && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  struct stat status = {};
  if (file.is_open() && ::fstat(file.get(), &status) == 0 && !S_ISREG(status.st_mode))
    fail<FileError>("{}: not a file; leave TAPER_ALGORITHM_CACHE empty to keep measurements in memory", path);
  std::string content;
  const int error = file.is_open() ? file.read(content) : errno;
  if (error != 0) fail<FileError>("{}: cannot be read: {}", path, std::generic_category().message(error));
  return content;
}

/// parse(), except that running out of memory says nothing about the file.
Content parse_file(const std::string& path, const std::string& text) {
  try {
    return parse(text);
  } catch (const std::bad_alloc&) {
    fail<FileError>("{}: there is no memory to read its {} bytes", path, text.size());
  }
}

/// Call with the lock held: no process may put aside the good file that another has just written.
Content read_locked(const std::string& path) {
  const auto text = content_of(path);
  if (!text) return {};
  try {
    return parse_file(path, *text);
  } catch (const FileError&) {
    throw;
  } catch (const std::exception& error) {
    const std::string aside = path + ".damaged";
    std::error_code failed;
    std::filesystem::rename(path, aside, failed);
    warn(fmt::format("{}: not a table of algorithms as this version writes it ({}); {}", path,
                     shortened(error.what(), kLongestQuote),
                     failed ? "it cannot be renamed: " + failed.message() : "it is now " + aside));
    return {};
  }
}

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

Content read_file(const std::string& path) {
  check_private_folder(folder_of(path));
  const auto text = content_of(path);
  if (!text) return {};
  try {
    return parse_file(path, *text);
  } catch (const FileError&) {
    throw;
  } catch (const std::exception&) {
    const FileLock lock(path);
    return read_locked(path);
  }
}

/// Replaces the file by change(content), and returns that content.
template <class Change>
Content change_file(const std::string& path, Change&& change) {
  make_private_folder(folder_of(path));
  const FileLock lock(path);
  Content content = read_locked(path);
  change(content);
  write_file_atomically(path, text_of(content));
  return content;
}

}  // namespace

std::vector<std::string> AlgorithmRecord::key() const {
  std::vector<std::string> key = {problem, environment};
  for (const AlgorithmTiming& timing : candidates) key.push_back(timing.name);
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
  require_sense(record);
  return change_file(path_, [&](Content& content) { content.records[record.key()] = record; }).records;
}

void AlgorithmFile::add(const AlgorithmFault& fault) const {
  if (path_.empty()) return;
  require_sense(fault);
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
