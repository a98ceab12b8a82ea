#include "inputs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/files/file_descriptor.h"
#include "taper/nn/data/image_folder.h"

namespace taper {
namespace {

std::string read_all(const std::string& path) {
  const bool is_stdin = path == "-";
  const FileDescriptor file(is_stdin ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  ssize_t count = file.is_open() ? 1 : -1;
  while (count > 0) {
    char buffer[1 << 16];
    count = ::read(file.get(), buffer, sizeof(buffer));
    if (count > 0) text.append(buffer, size_t(count));
    if (count < 0 && errno == EINTR) count = 1;
  }
  if (count < 0)
    fail<FileError>("{}: cannot be read: {}", is_stdin ? "standard input" : path,
                    std::generic_category().message(errno));
  return text;
}

/// Appends a path, or the images of the folder that it names.
void add_path(const std::string& path, Inputs& inputs) {
  std::error_code unknown;
  if (!std::filesystem::is_directory(path, unknown)) {
    inputs.images.push_back(path);  // a path that leads nowhere counts as an image that cannot be read
    return;
  }
  PassedOver passed_over;
  for (std::string& image : list_images(path, passed_over)) inputs.images.push_back(std::move(image));
  if (const std::string others = passed_over.str(); !others.empty())
    inputs.notes.push_back(fmt::format("passed over in {}: {}", path, others));
}

}  // namespace

std::vector<std::string> read_lines(const std::string& path, char separator) {
  const std::string text = read_all(path);
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (separator == '\n' && line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

Inputs find_inputs(const PredictOptions& options) {
  Inputs inputs;
  for (const std::string& path : options.paths) add_path(path, inputs);
  if (!options.list.empty()) {
    for (const std::string& path : read_lines(options.list, options.null_separated ? '\0' : '\n'))
      if (!path.empty()) add_path(path, inputs);
  }
  if (inputs.images.empty())
    fail<FileError>("there is no .jpg, .jpeg or .png image in what was given{}{}",
                    inputs.notes.empty() ? "" : "; ", fmt::join(inputs.notes, "; "));
  return inputs;
}

}  // namespace taper
