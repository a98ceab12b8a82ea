#include <algorithm>
#include <filesystem>

#include "taper/core/error.h"
#include "taper/nn/data/dataset.h"

namespace taper {
namespace {

namespace fs = std::filesystem;

// The pictures at any depth below `folder`: all of a folder before those of the next, each in the order of
// names.
std::vector<std::string> find_pictures(const fs::path& folder) {
  std::vector<std::pair<std::string, std::string>> found;  // folder, name
  constexpr auto kOptions = fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(folder, kOptions))
    if (has_image_extension(entry.path()) && entry.is_regular_file())
      found.emplace_back(entry.path().parent_path(), entry.path().filename());
  std::ranges::sort(found);
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (const auto& [parent, name] : found) paths.push_back(fmt::format("{}/{}", parent, name));
  return paths;
}

}  // namespace

ImageFolderDataset::ImageFolderDataset(const std::string& folder) {
  if (!fs::is_directory(folder)) fail<FileError>("{}: no such directory", folder);
  try {
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_directory()) class_names_.push_back(entry.path().filename());
    std::ranges::sort(class_names_);
    if (class_names_.empty())
      fail<FileError>("{}: has no class folders; pictures are expected as {}/CLASS/NAME.jpg", folder, folder);
    for (size_t label = 0; label < class_names_.size(); ++label) {
      const fs::path class_folder = fs::path(folder) / class_names_[label];
      const auto paths = find_pictures(class_folder);
      if (paths.empty()) fail<FileError>("{}: holds no .jpg, .jpeg or .png picture", class_folder.string());
      for (const std::string& path : paths) files_.push_back({path, int64_t(label)});
    }
  } catch (const fs::filesystem_error& error) {
    fail<FileError>("{}: {}", error.path1().string(), error.code().message());
  }
}

Sample ImageFolderDataset::get(int64_t index) const {
  const File& file = files_[size_t(index)];
  return {read_image(file.path), file.label};
}

}  // namespace taper
