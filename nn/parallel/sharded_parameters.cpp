#include "taper/nn/parallel/sharded_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "taper/core/base/op_scope.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

namespace taper {

ShardedParameters::ShardedParameters(ProcessGroup& group, const std::vector<Place>& places,
                                     std::vector<int64_t> row_sizes)
    : group_(group), row_sizes_(std::move(row_sizes)) {
  for (const Place& place : places) {
    const Tensor& x = place.parameter;
    TAPER_CHECK(x.is_dense(), "ShardedParameters: a parameter must be dense, got strides {} for shape {}",
                x.strides(), x.shape());
    const int64_t row = row_sizes_[place.bucket];
    const auto within = [&](int64_t at) { return std::clamp<int64_t>(at - place.offset, 0, x.numel()); };
    const int64_t begin = within(row * rank()), end = within(row * (rank() + 1));
    shards_[x.impl().get()] = {.place = place,
                               .begin = begin,
                               .size = end - begin,
                               .shard = views::as_strided(x, {end - begin}, {1}, x.storage_offset() + begin)};
  }
}

const ShardedParameters::Shard& ShardedParameters::find(const Tensor& parameter) const {
  const auto found = shards_.find(parameter.impl().get());
  TAPER_CHECK(
      found != shards_.end(),
      "ShardedParameters: a parameter of shape {} is none of those that DistributedDataParallel shares",
      parameter.shape());
  return found->second;
}

Tensor ShardedParameters::shard_in_bucket(const Tensor& parameter, const Tensor& flat) const {
  const Shard& own = find(parameter);
  return views::as_strided(flat, {own.size}, {1}, flat.storage_offset() + own.place.offset + own.begin);
}

Tensor ShardedParameters::cut(const Tensor& parameter, const Tensor& whole) const {
  const Shard& own = find(parameter);
  const Tensor ordered = empty_strided(parameter.shape(), parameter.strides(), whole.dtype(), whole.device());
  ops::copy_(ordered, whole);
  return views::as_strided(ordered, {own.size}, {1}, own.begin);
}

void ShardedParameters::gather(const std::vector<Tensor>& parameters, const std::vector<Tensor>& pieces,
                               const std::string& label,
                               const std::function<void(size_t, const Tensor& whole)>& take) const {
  std::vector<std::vector<size_t>> members(row_sizes_.size());  // of each bucket
  for (size_t i = 0; i < parameters.size(); ++i) members[find(parameters[i]).place.bucket].push_back(i);
  struct UnderWay {
    size_t bucket = 0;
    Tensor flat = {};  ///< undefined: nothing is
    Collective gathered = {};
  };
  const auto finish = [&](UnderWay done) {
    if (!done.flat.defined()) return;
    done.gathered.wait();
    for (const size_t i : members[done.bucket]) {
      const Tensor& x = parameters[i];
      take(i, views::as_strided(done.flat, x.shape(), x.strides(), find(x).place.offset));
    }
  };
  UnderWay before;
  for (size_t b = 0; b < members.size(); ++b) {
    if (members[b].empty()) continue;
    const Tensor& first = pieces[members[b][0]];
    const Tensor flat =
        ops::zeros({group_.size(), row_sizes_[b]}, {.dtype = first.dtype(), .device = first.device()});
    for (const size_t i : members[b]) ops::copy_(shard_in_bucket(parameters[i], flat), pieces[i]);
    const UnderWay next = {
        .bucket = b, .flat = flat, .gathered = group_.all_gather(flat, fmt::format("{} {}", label, b))};
    finish(std::exchange(before, next));  // while the next bucket travels
  }
  finish(before);
}

void ShardedParameters::gather_parameters(const std::vector<Tensor>& parameters) const {
  const OpScope scope("gather parameters", SpanKind::kOptimizer);
  std::vector<Tensor> pieces;
  for (const Tensor& x : parameters) pieces.push_back(shard_of(x));
  gather(parameters, pieces, "parameters",
         [&](size_t i, const Tensor& whole) { ops::copy_(parameters[i], whole); });
}

void ShardedParameters::all_reduce(const Tensor& x, ReduceOp op, const std::string& label) const {
  group_.all_reduce(x, op, label).wait();
}

}  // namespace taper
