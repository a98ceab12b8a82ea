#pragma once
// Batch norms that see the images of all ranks: for ranks with so few images that their own statistics are noise.
//
//   synchronise_batch_norms(model, &group);
//   DistributedDataParallel parallel(model, group);
//
// Ranks then train as one process with the whole batch does, if their parts are equally large. The price is two
// collectives for each batch norm and step, which nothing hides. PyTorch's counterpart:
// torch.nn.SyncBatchNorm.convert_sync_batchnorm.

#include "taper/nn/module.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

/// Has every BatchNorm2d in `model` normalise by the statistics of all ranks' images in training; null: of its own
/// rank's again. Returns how many. See BatchNorm2d::synchronise().
int64_t synchronise_batch_norms(Module& model, ProcessGroup* group);

}  // namespace taper
