#pragma once
// A model's weights from a file of any format that Taper reads.

#include <optional>
#include <string>

#include "taper/nn/io/model_description.h"
#include "taper/nn/io/state_dict.h"

namespace taper {

/// Which of the weights in a checkpoint's folder are meant.
enum class WeightsOf {
  kModel,    ///< model.safetensors
  kAverage,  ///< ema.safetensors, the moving average; without one, model.safetensors
};

/// Returns the path of the file with the weights: `path` itself, or the file in it if it is a folder. The file
/// need not exist.
std::string weights_file(const std::string& path, WeightsOf which = WeightsOf::kModel);

/// Returns the state dict in a safetensors file or in one of PyTorch's (see load_pytorch and state_dict_of), or
/// that of the model in a checkpoint's folder. A file's first bytes decide which it is, not its name. Throws
/// FileError, beginning with the path, if the file is neither, is damaged, or holds no state dict.
StateDict load_weights(const std::string& path, const StateDictOptions& options = {});

/// Returns what the file says of its model besides the weights; nothing if it says nothing. Throws FileError,
/// beginning with the path, if it cannot be read, and for values that are no description.
std::optional<ModelDescription> read_description(const std::string& path);

/// Returns whether the file's first bytes are those of PyTorch's files. Throws FileError if it cannot be read.
bool is_pytorch_weights(const std::string& path);

/// Returns the tensors as a value, as load_pytorch() returns them.
PickleValue value_of(const StateDict& state);

}  // namespace taper
