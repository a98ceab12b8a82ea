#include "taper/core/files/private_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "taper/core/base/error.h"

namespace taper {

void make_private_folder(const std::string& folder) {
  // Mode 0700 as the XDG Base Directory Specification requires, whatever the umask.
  std::filesystem::path made;
  for (const std::filesystem::path& part : std::filesystem::path(folder)) {
    made /= part;
    std::error_code failed;
    if (made.empty() || std::filesystem::is_directory(made, failed)) continue;
    if (::mkdir(made.c_str(), 0700) != 0 && errno != EEXIST)
      fail<FileError>("{}: cannot be made: {}", made.string(), std::generic_category().message(errno));
  }
  check_private_folder(folder);
}

void check_private_folder(const std::string& folder) {
  struct stat status = {};
  const std::string name = folder.empty() ? "." : folder;
  if (::stat(name.c_str(), &status) != 0) return;
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    fail<FileError>("{}: belongs to user {}, and this is user {}; use a folder of your own", name,
                    status.st_uid, ::geteuid());
  if ((status.st_mode & S_IWOTH) != 0)
    fail<FileError>("{}: everybody may write there; use a folder of your own (chmod o-w)", name);
}

}  // namespace taper
