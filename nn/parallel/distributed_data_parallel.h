#pragma once
// DistributedDataParallel: one model on several ranks. Each rank sees a part of every batch. backward() leaves the mean
// of all ranks' gradients in every parameter's grad(), so the ranks' optimisers make the same step.
//
//   DistributedDataParallel parallel(model, group);  // all ranks now have rank 0's weights
//   for (...) {
//     optimizer.zero_grad();
//     loss_of(part_of_batch).backward();             // the mean loss of this rank's images
//     optimizer.step();
//   }
//
// Gradients travel in buckets: flat buffers, which the parameters' grad() are views of (in a group of one nothing travels). A bucket goes on its way as
// soon as backward() has all its gradients, while backward() computes the next ones. Buckets are filled in the order in
// which the first backward() produced the gradients. PyTorch's counterparts: torch/nn/parallel/distributed.py and
// torch/csrc/distributed/c10d/reducer.cpp; Li et al. 2020, https://arxiv.org/abs/2006.15704.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "taper/nn/module.h"
#include "taper/nn/parallel/buckets.h"
#include "taper/nn/parallel/sharded_parameters.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

class DistributedDataParallel {
 public:
  /// Gives every rank's model the parameters and buffers of rank 0's. `model` and `group` must outlive this; the model
  /// must not be moved or converted meanwhile. All ranks must call it. Throws Error, naming rank and tensor, if a rank's
  /// model differs in a name, shape, dtype or in what trains; if nothing trains; and for another wire_dtype.
  DistributedDataParallel(Module& model, ProcessGroup& group, const DataParallelOptions& options = {});
  ~DistributedDataParallel();
  DistributedDataParallel(const DistributedDataParallel&) = delete;
  DistributedDataParallel& operator=(const DistributedDataParallel&) = delete;

  /// Inside its scope backward() adds up gradients on each rank alone, for all but the last batch of a step.
  /// (torch.nn.parallel.DistributedDataParallel.no_sync)
  class NoSync {
   public:
    explicit NoSync(DistributedDataParallel& parallel);
    ~NoSync();
    NoSync(const NoSync&) = delete;
    NoSync& operator=(const NoSync&) = delete;

   private:
    DistributedDataParallel& parallel_;
    bool previous_;
  };

  /// Gives every rank rank 0's buffers: batch norm's running statistics, which each rank keeps of its own images.
  /// Before an evaluation.
  void broadcast_buffers();

  /// For Optimizer::shard(), between two steps. From now on backward() leaves the mean gradient of each shard in the
  /// shard's grad(), and none in the parameters': half of the all-reduce, its reduce-scatter, is done. Buckets keep the
  /// order that they have. backward() throws Error if a shard still has a gradient: batches of a step add up under NoSync
  /// alone. All ranks must call it. Returns the same object for every call.
  std::shared_ptr<const ShardedParameters> shards();

  /// Returns the parameters' names in each bucket, in the order in which buckets travel.
  std::vector<std::vector<std::string>> buckets() const;
  ProcessGroup& group() { return group_; }

 private:
  class Reducer;

  Module& model_;
  ProcessGroup& group_;
  std::shared_ptr<Reducer> reducer_;
};

}  // namespace taper
