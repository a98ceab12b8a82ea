#pragma once
// What resnet50_train shows of a run to those who watch it from elsewhere: --tensorboard, --report.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "options.h"
#include "setup.h"
#include "taper/nn/report/tensorboard/hparams.h"
#include "taper/nn/train/sink.h"

namespace taper {

/// Returns what this program is made of and runs on, by name: Taper, its GPU, each library and device under it,
/// and the level of the CPU.
std::vector<std::pair<std::string, std::string>> versions();

/// Returns the options that decide what a run computes, with the defaults that were chosen, and all other flags
/// of the command line but those that name files to write.
NamedSettings settings_of(const TrainOptions& options, const Setup& setup);

// Both refer to `setup`, and throw Error if their file or folder cannot be written.

/// Returns the sink of --report; null if not asked for.
std::shared_ptr<RunPage> make_page(const TrainOptions& options, const Setup& setup);
/// Makes the event file of --tensorboard and returns its sink; null if not asked for.
std::shared_ptr<TrainSink> make_tensorboard(const TrainOptions& options, const Setup& setup);

}  // namespace taper
