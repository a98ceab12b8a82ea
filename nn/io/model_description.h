#pragma once
// What one must know of a network, besides its weights, to use it: kept in the metadata of the safetensors file
// that holds the weights, so that this one file is enough.

#include <optional>
#include <string>
#include <vector>

#include "taper/nn/io/safetensors.h"

namespace taper {

struct ModelDescription {
  std::string arch;      ///< "resnet50": see make_resnet()
  int image_size = 224;  ///< side of the network's input in pixels
  int resize = 256;      ///< length of an image's shorter side before the centre is cut out
  std::vector<std::string> class_names = {};  ///< one for each output
  bool operator==(const ModelDescription&) const = default;

  /// Returns the entries "arch", "image_size", "resize" and "class_names", the last as a JSON array.
  Metadata to_metadata() const;
};

/// Returns the description in a file's metadata; nothing if there is no "arch", or nothing but it. Throws Error, naming the entry,
/// for values that are no description: a size that is no whole number from 1 to 65536, a list that is none.
std::optional<ModelDescription> model_description(const Metadata& metadata);

}  // namespace taper
