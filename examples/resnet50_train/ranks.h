#pragma once
// One run of resnet50_train in several processes: who speaks, who writes, and how they end.

#include <optional>

#include "options.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

/// Returns how messages begin: "resnet50_train", or "resnet50_train (rank 2)" among several processes.
const char* name_of_process();

/// As parse_options(). Rank 0 alone prints, and so is the first to say what is wrong with the flags; mpirun then ends the
/// others. One that it does not end has a reason of its own, which it prints a little later.
std::optional<Exit> parse_as_rank(int argc, char** argv, TrainOptions& options);

/// Waits, on other ranks than rank 0. Their errors are mostly rank 0's, too: it has the time to say so and to end all, on a
/// busy machine as well.
void let_rank_0_speak(const TrainOptions& options);

/// What depends on the other ranks: this one's place on its host, its GPU, its threads (an even share of its CPUs among
/// the ranks that may run on the same ones), and where a failure is recorded.
void settle(ProcessGroup& group, TrainOptions& options);

/// Lets the group use NCCL where it can. Returns a line that says how gradients travel; nothing on a CPU.
std::string connect_gpus(ProcessGroup& group, Device device);

/// Returns rank 0's exit code, which knows of files and checkpoints.
int code_of_rank_0(ProcessGroup& group, int code);

}  // namespace taper
