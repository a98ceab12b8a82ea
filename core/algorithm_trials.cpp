#include "taper/core/algorithm_trials.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "taper/core/error.h"
#include "taper/core/file_lock.h"

namespace taper {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoteSuffix = ".trial-";

std::string note_of(const std::vector<AlgorithmFault>& trials) {
  nlohmann::json json = nlohmann::json::array();
  for (const AlgorithmFault& trial : trials)
    json.push_back({trial.problem, trial.environment, trial.algorithm, trial.what});
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Nothing if the process ended while it wrote.
std::vector<AlgorithmFault> trials_in(const std::string& text) {
  std::vector<AlgorithmFault> trials;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return trials;
  for (const nlohmann::json& entry : json) {
    if (entry.is_array() && entry.size() == 4 &&
        std::all_of(entry.begin(), entry.end(), [](const nlohmann::json& word) { return word.is_string(); }))
      trials.push_back({entry[0], entry[1], entry[2], entry[3], true});
  }
  return trials;
}

/// The notes beside the algorithm file at `path`.
std::vector<fs::path> notes_beside(const std::string& path) {
  const fs::path file(path), folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const std::string prefix = file.filename().string() + kNoteSuffix;
  std::vector<fs::path> notes;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    if (entry->path().filename().string().starts_with(prefix)) notes.push_back(entry->path());
  }
  return notes;
}

/// Whether the process that wrote the note has ended: it held a lock on it.
bool is_abandoned(const fs::path& note) {
  std::FILE* const file = std::fopen(note.c_str(), "re");
  if (file == nullptr) return false;
  const bool free = ::flock(::fileno(file), LOCK_EX | LOCK_NB) == 0;
  std::fclose(file);
  return free;
}

}  // namespace

AlgorithmTrials::~AlgorithmTrials() {
  if (fd_ < 0) return;
  ::unlink(note_path_.c_str());
  ::close(fd_);
}

void AlgorithmTrials::begin(const AlgorithmFault& trial) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    under_way_.push_back(trial);
    write();
  } catch (const std::exception&) {  // no folder, no space, no memory: no note
  }
}

void AlgorithmTrials::end(const AlgorithmFault& trial) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    std::erase_if(under_way_, [&](const AlgorithmFault& other) { return other.is_of_same(trial); });
    write();
  } catch (const std::exception&) {
  }
}

void AlgorithmTrials::write() {
  if (path_.empty()) return;
  if (fd_ < 0) {
    if (const fs::path folder = fs::path(path_).parent_path(); !folder.empty())
      fs::create_directories(folder);
    const FileLock lock(path_);  // so that nobody takes the new note for an abandoned one
    note_path_ = path_ + kNoteSuffix + "XXXXXX";
    fd_ = ::mkostemp(note_path_.data(), O_CLOEXEC);
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  const std::string text = note_of(under_way_);
  if (fd_ < 0 || ::ftruncate(fd_, 0) != 0) return;
  [[maybe_unused]] const ssize_t written = ::pwrite(fd_, text.data(), text.size(), 0);
}

std::vector<AlgorithmFault> unfinished_trials(const std::string& path) {
  std::vector<AlgorithmFault> trials;
  if (path.empty() || notes_beside(path).empty()) return trials;
  const FileLock lock(path);
  for (const fs::path& note : notes_beside(path)) {
    if (!is_abandoned(note)) continue;
    std::ostringstream text;
    text << std::ifstream(note).rdbuf();
    for (AlgorithmFault& trial : trials_in(text.str())) trials.push_back(std::move(trial));
    std::error_code failed;
    fs::remove(note, failed);
  }
  return trials;
}

}  // namespace taper
