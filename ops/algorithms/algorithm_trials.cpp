#include "taper/ops/algorithms/algorithm_trials.h"

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

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"
#include "taper/core/files/file_lock.h"
#include "taper/core/files/private_folder.h"

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

bool is_word(const nlohmann::json& word) {
  if (!word.is_string()) return false;
  const auto& text = word.get_ref<const std::string&>();
  return !text.empty() && is_printable(text);
}

/// Returns the trials in a note; none if the process ended while it wrote.
std::vector<AlgorithmFault> trials_in(const std::string& text) {
  std::vector<AlgorithmFault> trials;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return trials;
  for (const nlohmann::json& entry : json) {
    if (entry.is_array() && entry.size() == 4 && std::all_of(entry.begin(), entry.end(), is_word))
      trials.push_back({entry[0], entry[1], entry[2], entry[3], true});
  }
  return trials;
}

/// Returns the notes beside the algorithm file at `path`.
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

/// Whether the process that wrote the note, and held a lock on it, has ended.
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
    make_private_folder(fs::path(path_).parent_path().string());
    // It gets its name once it is locked, so that no process considers it abandoned.
    std::string nameless = path_ + ".new-XXXXXX";
    fd_ = ::mkostemp(nameless.data(), O_CLOEXEC);
    if (fd_ < 0) return;
    ::flock(fd_, LOCK_EX | LOCK_NB);
    note_path_ = path_ + kNoteSuffix + nameless.substr(nameless.size() - 6);
    if (std::rename(nameless.c_str(), note_path_.c_str()) != 0) note_path_ = nameless;
  }
  const std::string text = note_of(under_way_);
  if (::ftruncate(fd_, 0) != 0) return;
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
