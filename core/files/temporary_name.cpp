#include "taper/core/files/temporary_name.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string_view>

namespace taper::detail {
namespace {

constexpr std::string_view kTemporaryPrefix = ".taper-", kTemporarySuffix = ".tmp";
constexpr size_t kRandomDigits = 16;

bool is_temporary_name(std::string_view name) {
  return name.size() == kTemporaryPrefix.size() + kRandomDigits + kTemporarySuffix.size() &&
         name.starts_with(kTemporaryPrefix) && name.ends_with(kTemporarySuffix) &&
         name.substr(kTemporaryPrefix.size(), kRandomDigits).find_first_not_of("0123456789abcdef") ==
             std::string_view::npos;
}

}  // namespace

std::string temporary_name() {
  std::random_device random;  // the system's, not a generator that a fork or a seed could repeat
  return fmt::format("{}{:08x}{:08x}{}", kTemporaryPrefix, uint32_t(random()), uint32_t(random()),
                     kTemporarySuffix);
}

void remove_orphans(const std::string& folder) {
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (!is_temporary_name(entry->path().filename().native())) continue;
    const std::string path = entry->path().native();
    std::error_code ignored;
    if (entry->is_symlink(ignored)) {  // made and renamed at once, so its writer has died
      ::unlink(path.c_str());
      continue;
    }
    constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    FileDescriptor orphan(
        ::open(path.c_str(), O_RDWR | kFlags));  // NFS locks only files that are open for writing
    if (!orphan.is_open()) orphan = FileDescriptor(::open(path.c_str(), O_RDONLY | kFlags));
    if (orphan.is_open() && orphan.try_lock() == 0) std::filesystem::remove_all(path, ignored);
  }
}

bool was_taken_for_an_orphan(const FileDescriptor& file) {
  if (file.try_lock() == EWOULDBLOCK) return true;
  struct stat status = {};
  return ::fstat(file.get(), &status) == 0 && status.st_nlink == 0;
}

void flush_folder(const std::string& folder) {
  const FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.is_open()) ::fsync(opened.get());
}

}  // namespace taper::detail
