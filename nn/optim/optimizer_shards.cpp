// What an Optimizer does to its memory where parameters are sharded.

#include "taper/nn/optim/optimizer.h"
#include "taper/nn/parallel/sharded_parameters.h"
#include "taper/ops/copy/copy.h"

namespace taper {

void Optimizer::shard(std::shared_ptr<const ShardedParameters> shards) {
  TAPER_CHECK(is_elementwise(),
              "{}: its update needs norms of whole parameters, and each rank would have shards; use SGD, "
              "Adam or AdamW, "
              "or do not shard the optimizer",
              optimizer_);
  TAPER_CHECK(!shards_, "{}: shard() was called before", optimizer_);
  for (const Tensor& parameter : parameters())
    shards->shard_of(parameter);  // throws before anything is changed
  shards_ = std::move(shards);
  for (Group& group : groups_) {
    for (Slot& slot : group.slots) {
      slot.whole = std::exchange(slot.parameter, shards_->shard_of(slot.parameter));
      for (Tensor& memory : slot.memory) memory = ops::clone(shards_->cut(slot.whole, memory));
    }
  }
}

int64_t Optimizer::memory_bytes() const {
  int64_t bytes = 0;
  for (const Group& group : groups_)
    for (const Slot& slot : group.slots)
      for (const Tensor& memory : slot.memory) bytes += int64_t(memory.size_bytes());
  return bytes;
}

std::vector<Tensor> Optimizer::whole_parameters() const {
  std::vector<Tensor> all;
  for (const Group& group : groups_)
    for (const Slot& slot : group.slots) all.push_back(slot.whole);
  return all;
}

void Optimizer::gather_memory(SavedState& state) const {
  const std::vector<std::string> kinds = memory_names();
  for (size_t k = 0; k < kinds.size(); ++k) {
    std::vector<std::string> names;
    std::vector<Tensor> parameters, pieces;
    for (const Group& group : groups_) {
      for (const Slot& slot : group.slots) {
        if (slot.memory.empty()) continue;  // on all ranks: it was never updated
        names.push_back(kinds[k] + "." + slot.name);
        parameters.push_back(slot.whole);
        pieces.push_back(slot.memory[k]);
      }
    }
    shards_->gather(parameters, pieces, kinds[k], [&](size_t i, const Tensor& whole) {
      if (shards_->rank() != 0) return;
      state.tensors[names[i]] = whole.device().is_cpu() ? ops::clone(whole) : ops::to_device(whole, kCPU);
    });
  }
}

}  // namespace taper
