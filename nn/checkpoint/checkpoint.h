#pragma once
// Checkpoint: what a run is made of, as files. A run that reads it goes on as if it had never stopped.
//
// On disk it is a folder:
//
//   step-00001200/model.safetensors       weights and buffers, under the model's own names
//                 ema.safetensors         the moving average of the weights and buffers, if the run has one
//                 optimizer.safetensors   the optimiser's memory
//                 checkpoint.json         all numbers, the options, and a checksum of each file
//
// Each part is a SavedState by name. Its tensors go to PART.safetensors, its numbers to checkpoint.json. PyTorch
// has no counterpart; its users write a dict with torch.save.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "taper/core/generator.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/io/weights.h"
#include "taper/nn/optim/saved_state.h"
#include "taper/nn/weights_checksum.h"

namespace taper {

struct Checkpoint {
  /// "model", "optimizer", "schedule", ...: letters and underscores, since they name files.
  std::map<std::string, SavedState> parts;
  GeneratorState generator;
  Metadata description;                        ///< in the metadata of each file (nn/io/model_description.h)
  std::map<std::string, std::string> options;  ///< how the run was called, to compare
  std::map<std::string, std::string> must_match;  ///< what a run must have in common to go on from here
  /// Of the model's weights, as it was before they were copied. They are compared with it once they are on disk.
  std::optional<WeightsChecksum> expected = {};

  /// Returns the numbers and tensors of a part. Throws Error naming the part if there is none.
  const SavedState& part(const std::string& name) const;
};

/// What a folder of checkpoints knows of one of them.
struct CheckpointOrder {
  int64_t serial = 0;    ///< counts the checkpoints of a folder, in the order in which they were saved
  bool best = false;     ///< the best one so far when it was saved
  bool complete = true;  ///< all its files are there and have the size that was written
};

/// Writes the files of a checkpoint into `folder`, which is empty, and flushes each to disk. Throws FileError, also if the
/// weights are not `expected`: their memory was spoilt.
void write_checkpoint(const std::string& folder, const Checkpoint& checkpoint, const CheckpointOrder& order);

/// Reads a checkpoint, with tensors on the CPU that view the mapped files. Throws FileError, one line that begins
/// with the path, if a file is missing, has another size or checksum than was written, or is malformed.
Checkpoint read_checkpoint(const std::string& folder);

/// Reads checkpoint.json alone. Throws FileError if it is missing or damaged.
CheckpointOrder read_checkpoint_order(const std::string& folder);

/// Returns weights_file(path, which), after checking its size and checksum if `path` is a checkpoint. Throws FileError
/// if the file is damaged or missing, and for a folder of checkpoints, which has several.
std::string checked_weights_file(const std::string& path, WeightsOf which = WeightsOf::kModel);

/// Returns whether `folder` holds a checkpoint, whole or not.
bool is_checkpoint(const std::string& folder);

}  // namespace taper
