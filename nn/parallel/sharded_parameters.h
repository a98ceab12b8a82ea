#pragma once
// ShardedParameters: each rank updates a part of the parameters, its shards. The parameters lie one after the other in
// the buckets of DistributedDataParallel. A bucket is cut into rows of equal size, one for each rank:
//
//   parameters  | fc.bias | fc.weight                          | layer4.bn.bias | ...        | 0 0 |
//   rows        | rank 0                   | rank 1                    | rank 2                    |
//
// A shard is what a rank's row has of a parameter: a view of one dimension on the parameter's memory, often all of it or
// nothing. An optimiser that knows of shards keeps its memory, such as momentum, for them alone (Optimizer::shard()).
// This is stage 1 of ZeRO: Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054. PyTorch's counterpart:
// torch/distributed/optim/zero_redundancy_optimizer.py, which gives each rank whole parameters.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "taper/core/tensor.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

class ShardedParameters {
 public:
  /// A parameter's place in the buckets.
  struct Place {
    Tensor parameter;
    size_t bucket = 0;
    int64_t offset = 0;  ///< in elements
  };

  /// row_sizes: elements that a rank has of each bucket. `group` must outlive this. Throws Error for a parameter with
  /// gaps between its elements.
  ShardedParameters(ProcessGroup& group, const std::vector<Place>& places, std::vector<int64_t> row_sizes);

  int rank() const { return group_.rank(); }
  /// Returns this rank's shard, the same tensor for every call. Throws Error for another parameter than these.
  const Tensor& shard_of(const Tensor& parameter) const { return find(parameter).shard; }
  /// Returns the view on a bucket's flat memory that corresponds to the shard.
  Tensor shard_in_bucket(const Tensor& parameter, const Tensor& flat) const;
  /// Returns the part of `whole`, a tensor of the parameter's shape, that corresponds to the shard.
  Tensor cut(const Tensor& parameter, const Tensor& whole) const;

  // Collectives: all ranks must call them.

  /// Takes what corresponds to this rank's shard of each parameter. Calls take(i, whole) with what all ranks gave for
  /// parameters[i], in the parameter's shape and memory order. `whole` is in memory that take() must not keep: there is
  /// room for two buckets at a time.
  void gather(const std::vector<Tensor>& parameters, const std::vector<Tensor>& pieces,
              const std::string& label, const std::function<void(size_t, const Tensor& whole)>& take) const;
  /// Gives all ranks the shards that each has updated.
  void gather_parameters(const std::vector<Tensor>& parameters) const;
  /// Replaces x by the sum or the largest of all ranks' x.
  void all_reduce(const Tensor& x, ReduceOp op, const std::string& label) const;

 private:
  struct Shard {
    Place place;
    int64_t begin = 0, size = 0;  ///< of the shard in the parameter, in memory order
    Tensor shard;
  };
  const Shard& find(const Tensor& parameter) const;

  ProcessGroup& group_;
  std::vector<int64_t> row_sizes_;
  std::map<const TensorImpl*, Shard> shards_;
};

}  // namespace taper
