#pragma once
// Whether the ranks still have the same weights. Data parallel training never compares them: each rank makes the same
// steps of its own. A broken memory module, or a host that computes otherwise, would spoil the mean gradient unseen.

#include <cstdint>

#include "taper/nn/module.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

/// Compares every rank's parameters with rank 0's; all ranks must call it. Throws Error on all ranks, naming parameter and
/// ranks, if one differs by more than a thousandth of its norm: hosts of different make may round differently. As long as
/// all bits are equal, checksums alone travel. Returns this rank's, of the parameters in order (weights_checksum()).
uint32_t check_weights(const Module& model, ProcessGroup& group);

}  // namespace taper
