#pragma once
// The paths that taper-predict is given: on the command line, in a list, and in folders.

#include <string>
#include <vector>

#include "options.h"

namespace taper {

struct Inputs {
  std::vector<std::string> images;  ///< in the order given; a folder's images in its place
  std::vector<std::string> notes;   ///< a line for each folder that holds other files, too
};

/// Returns the paths of the images. Throws FileError if the list cannot be read, a folder cannot be listed, or there is no
/// image in all.
Inputs find_inputs(const PredictOptions& options);

/// Returns the lines of a file ("-": of standard input), without their ends: "\n", or "\r\n" as other systems write it.
/// `separator` may be another byte, which then ends each line alone. Throws FileError.
std::vector<std::string> read_lines(const std::string& path, char separator = '\n');

}  // namespace taper
