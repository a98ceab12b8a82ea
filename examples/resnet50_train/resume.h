#pragma once
// Where a run of resnet50_train begins: anew, or at a checkpoint of an earlier one.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data.h"
#include "options.h"
#include "taper/nn/checkpoint/checkpoint_folder.h"
#include "taper/nn/io/model_description.h"
#include "taper/nn/train/train_loop.h"

namespace taper {

/// What taper-predict must know of the network.
ModelDescription describe_model(const TrainOptions& options, const Data& data);

/// What a checkpoint and the run that goes on from it must have in common, by its name in messages.
std::map<std::string, std::string> must_match(const TrainOptions& options, const Data& data,
                                              const TrainPlan& plan);

/// Returns the checkpoint that --resume asks for; nothing if the run starts anew. Throws Error if there is no such
/// checkpoint, and if --checkpoint-dir has checkpoints of a run that is not gone on with.
std::optional<FoundCheckpoint> find_start(const TrainOptions& options);

/// Throws Error, naming the first difference, unless the checkpoint is of such a run and of classes with these names.
void check_fits(const FoundCheckpoint& start, const std::map<std::string, std::string>& needed,
                const ModelDescription& description);

/// Returns lines for the header: which checkpoint it is, what becomes of newer ones in the folder that the run saves
/// into (null: none), and which options are others than the former run's.
std::vector<std::string> describe_start(const FoundCheckpoint& start, const TrainOptions& options,
                                        const TrainPlan& plan, const CheckpointFolder* folder);

/// Returns how far the checkpoint's run had come.
TrainProgress progress_of(const FoundCheckpoint& start);

}  // namespace taper
