// Lists a folder's classes and images, in torchvision's order, without following links in circles.

#include "taper/nn/data/image_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/printable.h"

namespace taper {
namespace {

namespace fs = std::filesystem;

/// Identifies the folder that a path leads to, through any links.
using FolderId = std::pair<dev_t, ino_t>;

struct FolderEntry {
  std::string name;
  fs::file_type type = fs::file_type::none;  // for a link, the target's
};

FolderId id_of(const std::string& folder) {
  struct stat status = {};
  if (::stat(folder.c_str(), &status) == 0) {
    if (!S_ISDIR(status.st_mode)) fail<FileError>("{}: not a directory", folder);
    return {status.st_dev, status.st_ino};
  }
  if (errno == ENOENT) fail<FileError>("{}: no such directory", folder);
  fail<FileError>("{}: cannot be listed: {}", folder, std::generic_category().message(errno));
}

/// Returns the ids of the folder and of all folders that contain it.
std::set<FolderId> ids_from_root_to(const std::string& folder) {
  std::set<FolderId> ids = {id_of(folder)};
  std::error_code ignored;
  for (fs::path path = fs::canonical(folder, ignored); path.has_relative_path();) {
    path = path.parent_path();
    if (struct stat status = {}; ::stat(path.c_str(), &status) == 0)
      ids.insert({status.st_dev, status.st_ino});
  }
  return ids;
}

/// Returns the type of the entry or, for a link, of its target. Only links need a system call.
fs::file_type type_of(const fs::directory_entry& entry) {
  std::error_code ignored;
  if (entry.is_directory(ignored)) return fs::file_type::directory;
  if (entry.is_regular_file(ignored)) return fs::file_type::regular;
  return entry.status(ignored).type();
}

/// Returns the folder's entries, sorted by name.
std::vector<FolderEntry> entries_of(const std::string& folder) {
  std::vector<FolderEntry> entries;
  std::error_code error;
  for (fs::directory_iterator next(folder, error); !error && next != fs::directory_iterator();
       next.increment(error))
    entries.push_back({next->path().filename(), type_of(*next)});
  if (error) fail<FileError>("{}: cannot be listed: {}", folder, error.message());
  std::ranges::sort(entries, {}, &FolderEntry::name);
  return entries;
}

/// Names that programs hide: archives from a Mac hold a ._x.jpg beside each x.jpg.
bool is_hidden(const std::string& name) {
  return name.starts_with('.') || name == "__MACOSX";
}

/// The kind under which PassedOver counts an entry that is neither a folder nor an image.
std::string kind_of(const FolderEntry& entry) {
  if (entry.type == fs::file_type::not_found || entry.type == fs::file_type::none) return "links to nothing";
  if (entry.type != fs::file_type::regular) return "pipes or devices";
  std::string extension = fs::path(entry.name).extension();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension.empty() ? "without extension" : extension;
}

std::string path_in(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + '/' + name;
}

/// Returns the images at any depth below `class_folder`: all of a folder before those of the next, each
/// sorted by name. Leaves out folders in `listed`; lists each other folder once.
std::vector<std::string> find_images(const std::string& class_folder, std::set<FolderId> listed,
                                     PassedOver& passed_over) {
  std::vector<std::pair<std::string, std::string>> found;  // folder, name
  std::vector<std::string> to_list = {class_folder};
  while (!to_list.empty()) {
    const std::string folder = std::move(to_list.back());
    to_list.pop_back();
    for (const FolderEntry& entry : entries_of(folder)) {
      const std::string path = path_in(folder, entry.name);
      if (is_hidden(entry.name))
        ++passed_over.counts["hidden"];
      else if (entry.type != fs::file_type::directory && has_image_extension(entry.name))
        found.emplace_back(folder, entry.name);
      else if (entry.type != fs::file_type::directory)
        ++passed_over.counts[kind_of(entry)];
      else if (listed.insert(id_of(path)).second)
        to_list.push_back(path);
      else
        ++passed_over.counts["links to folders listed already"];
    }
  }
  std::ranges::sort(found);
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (const auto& [folder, name] : found) paths.push_back(path_in(folder, name));
  return paths;
}

}  // namespace

void PassedOver::add(const PassedOver& other) {
  for (const auto& [kind, count] : other.counts) counts[kind] += count;
}

std::string PassedOver::str() const {
  std::vector<std::pair<int64_t, std::string>> kinds;
  for (const auto& [kind, count] : counts) kinds.emplace_back(-count, kind);
  std::ranges::sort(kinds);
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(kinds.size(), kShown); ++i)
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", -kinds[i].first, printable(kinds[i].second));
  if (kinds.size() > kShown) text += fmt::format(" and {} other kinds", kinds.size() - kShown);
  return text;
}

std::vector<std::string> list_images(const std::string& folder, PassedOver& passed_over) {
  return find_images(folder, ids_from_root_to(folder), passed_over);
}

ImageFolderDataset::ImageFolderDataset(const std::string& folder, ImageLimits limits) : limits_(limits) {
  // A link to one of these, or to a class, adds nothing: its target belongs elsewhere.
  const std::set<FolderId> around = ids_from_root_to(folder);
  std::set<FolderId> listed = around;
  for (const FolderEntry& entry : entries_of(folder)) {
    if (is_hidden(entry.name)) {
      ++passed_over_.counts["hidden"];
    } else if (entry.type == fs::file_type::directory) {
      const FolderId id = id_of(path_in(folder, entry.name));
      if (around.contains(id)) {
        ++passed_over_.counts["links to a folder around the classes"];
        continue;
      }
      class_names_.push_back(entry.name);
      listed.insert(id);
    } else {
      const bool is_image = entry.type == fs::file_type::regular && has_image_extension(entry.name);
      ++passed_over_.counts[is_image ? "outside the class folders" : kind_of(entry)];
    }
  }
  if (class_names_.empty())
    fail<FileError>("{}: has no class folders; images are expected as {}", folder,
                    path_in(folder, "CLASS/NAME.jpg"));
  for (size_t label = 0; label < class_names_.size(); ++label) {
    const std::string class_folder = path_in(folder, class_names_[label]);
    PassedOver passed_over;
    const auto paths = find_images(class_folder, listed, passed_over);
    if (paths.empty())
      fail<FileError>("{}: holds no .jpg, .jpeg or .png image{}{}", class_folder,
                      passed_over.counts.empty() ? "" : "; passed over: ", passed_over.str());
    for (const std::string& path : paths) files_.push_back({path, int64_t(label)});
    passed_over_.add(passed_over);
  }
}

Sample ImageFolderDataset::get(int64_t index) const {
  const File& file = files_[size_t(index)];
  return {read_image(file.path, limits_), file.label};
}

}  // namespace taper
