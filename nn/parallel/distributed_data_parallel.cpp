#include "taper/nn/parallel/distributed_data_parallel.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/base/ceil_div.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

/// Returns a line for each tensor: what must be the same on all ranks.
std::string describe_tensors(const Module& model) {
  std::string text;
  for (const auto& [name, x] : model.named_parameters())
    text += fmt::format("{} {} {}{}\n", name, x.dtype(), x.shape(), x.requires_grad() ? "" : " (frozen)");
  for (const auto& [name, x] : model.named_buffers())
    text += fmt::format("{} {} {}\n", name, x.dtype(), x.shape());
  return text;
}

/// Returns line `number` of the text; "nothing" if there is none.
std::string line_of(const std::string& text, int64_t number) {
  size_t begin = 0;
  for (; number > 0 && begin < text.size(); --number) begin = text.find('\n', begin) + 1;
  return begin >= text.size() ? "nothing" : text.substr(begin, text.find('\n', begin) - begin);
}

void check_same_model(const Module& model, ProcessGroup& group) {
  const std::vector<std::string> all = group.gather_texts(describe_tensors(model), "parameters");
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const auto [here, there] =
        std::mismatch(all[0].begin(), all[0].end(), all[rank].begin(), all[rank].end());
    const int64_t line = std::count(all[0].begin(), here, '\n');
    fail("DistributedDataParallel: the models differ: rank {} has {} where rank 0 has {}", rank,
         line_of(all[rank], line), line_of(all[0], line));
  }
}

}  // namespace

/// Held by the parameters' hooks, weakly: it ends with the DistributedDataParallel.
class DistributedDataParallel::Reducer : public std::enable_shared_from_this<Reducer> {
 public:
  Reducer(const Module& model, ProcessGroup& group, const DataParallelOptions& options)
      : group_(group), options_(options), travels_(group.size() > 1) {
    for (auto& [name, parameter] : model.named_parameters())
      if (parameter.requires_grad()) slots_.push_back({.name = name, .parameter = parameter});
    TAPER_CHECK(!slots_.empty(), "DistributedDataParallel: no parameter of the model requires a gradient");
    TAPER_CHECK(!options.wire_dtype || *options.wire_dtype == kFloat16 || *options.wire_dtype == kBFloat16,
                "DistributedDataParallel: wire_dtype must be f16 or bf16, got {}", *options.wire_dtype);
    std::vector<int64_t> order(slots_.size());
    std::iota(order.rbegin(), order.rend(), 0);  // backward() most likely begins with the last one
    fill_buckets(order);
  }

  void register_hooks() {
    for (size_t i = 0; i < slots_.size(); ++i)
      register_post_accumulate_hook(slots_[i].parameter, [weak = weak_from_this(), i](const Tensor&) {
        if (const auto self = weak.lock()) self->take_gradient(i);
      });
  }

  std::vector<std::vector<std::string>> names() const {
    std::vector<std::vector<std::string>> all;
    for (const Bucket& bucket : buckets_) {
      auto& names = all.emplace_back();
      for (const size_t i : bucket.slots) names.push_back(slots_[i].name);
    }
    return all;
  }

  std::shared_ptr<const ShardedParameters> shards() {
    if (shards_) return shards_;
    order_is_known_ = true;  // from now on a shard has its place
    std::vector<int64_t> order;
    for (const Bucket& bucket : buckets_) order.insert(order.end(), bucket.slots.begin(), bucket.slots.end());
    rows_ = group_.size();
    travels_ = true;
    fill_buckets(order);
    std::vector<ShardedParameters::Place> places;
    for (const Slot& slot : slots_)
      places.push_back(
          {.parameter = slot.parameter, .bucket = slot.bucket, .offset = slot.home.storage_offset()});
    std::vector<int64_t> row_sizes;
    for (const Bucket& bucket : buckets_) row_sizes.push_back(bucket.flat.numel() / rows_);
    shards_ = std::make_shared<const ShardedParameters>(group_, places, row_sizes);
    for (const Slot& slot : slots_) slot.parameter.set_grad({});
    return shards_;
  }

  bool synchronises = true;

 private:
  struct Slot {
    std::string name;
    Tensor parameter;
    Tensor home = {};  ///< its gradient's place in the bucket
    size_t bucket = 0;
    bool has_arrived = false;
  };
  struct Bucket {
    Tensor flat;
    std::vector<size_t> slots;
    size_t missing = 0;  ///< gradients that have not arrived in this backward()
    Tensor wire = {};    ///< what travels: `flat`, or its numbers in wire_dtype
    Collective mean = {};
  };

  /// Makes the buckets anew, with the slots in this order.
  void fill_buckets(const std::vector<int64_t>& order) {
    std::vector<BucketEntry> row;
    for (const int64_t i : order) {
      const Tensor& x = slots_[size_t(i)].parameter;
      row.push_back(
          {.bytes = x.numel() * int64_t(size_of(x.dtype())), .dtype = x.dtype(), .device = x.device()});
    }
    buckets_.clear();
    auto begin = order.begin();
    for (const size_t end : cut_buckets(row, options_)) {
      buckets_.emplace_back().slots.assign(begin, order.begin() + int64_t(end));
      begin = order.begin() + int64_t(end);
      make_flat(buckets_.size() - 1);
    }
  }

  void make_flat(size_t number) {
    Bucket& bucket = buckets_[number];
    bucket.missing = bucket.slots.size();
    for (const size_t i : bucket.slots) slots_[i].bucket = number;
    if (!travels_) return;
    const Tensor& first = slots_[bucket.slots[0]].parameter;
    int64_t elements = 0;
    for (const size_t i : bucket.slots) elements += slots_[i].parameter.numel();
    bucket.flat =
        ops::zeros({rows_ * ceil_div(elements, rows_)}, {.dtype = first.dtype(), .device = first.device()});
    int64_t offset = 0;
    for (const size_t i : bucket.slots) {
      const Tensor& x = slots_[i].parameter;
      const Strides strides = x.is_dense() ? x.strides() : strides_for(x.shape());
      slots_[i].home = views::as_strided(bucket.flat, x.shape(), strides, offset);
      offset += x.numel();
    }
  }

  /// A hook: the parameter's gradient of this backward() is complete.
  void take_gradient(size_t i) {
    if (!synchronises) return;
    if (pass_.expired()) begin_pass();
    Slot& slot = slots_[i];
    TAPER_CHECK(!slot.has_arrived,
                "DistributedDataParallel: the gradient of {} changes after it was sent: backward() was "
                "called twice in "
                "one pass over the parameter",
                slot.name);
    arrivals_.push_back(int64_t(i));
    slot.has_arrived = true;
    const Tensor grad = slot.parameter.grad();
    if (travels_ && !grad.is_same(slot.home)) {
      ops::copy_(slot.home, grad);
      slot.parameter.set_grad(shards_ ? Tensor() : slot.home);
    }
    --buckets_[slot.bucket].missing;
    send_full_buckets();
  }

  /// The first gradient of a backward(). One that an exception ended has left gradients on their way: they are dropped.
  void begin_pass() {
    for (const Slot& slot : slots_)
      TAPER_CHECK(!shards_ || !shards_->shard_of(slot.parameter).grad().defined(),
                  "DistributedDataParallel: the shard of {} has the gradient of another backward(); call the "
                  "optimiser's "
                  "zero_grad() before, or add up gradients under NoSync",
                  slot.name);
    for (Bucket& bucket : buckets_) std::exchange(bucket.mean, {}).wait();
    forget_arrivals();
    const auto pass = std::make_shared<int>();
    pass_ = pass;
    after_backward([weak = weak_from_this(), pass] {
      if (const auto self = weak.lock()) self->finish();
    });
  }

  void forget_arrivals() {
    arrivals_.clear();
    for (Slot& slot : slots_) slot.has_arrived = false;
    for (Bucket& bucket : buckets_) bucket.missing = bucket.slots.size();
    next_ = 0;
  }

  /// In order, so that all ranks send the same buckets one after the other.
  void send_full_buckets() {
    while (travels_ && order_is_known_ && next_ < buckets_.size() && buckets_[next_].missing == 0) {
      Bucket& bucket = buckets_[next_];
      bucket.wire = ops::cast(bucket.flat, wire_dtype(bucket.flat.dtype()));
      const std::string label = fmt::format("gradients {}", next_++);
      bucket.mean = shards_ ? group_.reduce_scatter(rows_of(bucket.wire), ReduceOp::kMean, label)
                            : group_.all_reduce(bucket.wire, ReduceOp::kMean, label);
    }
  }

  DType wire_dtype(DType dtype) const {
    const DType wanted = options_.wire_dtype.value_or(dtype);
    return size_of(wanted) < size_of(dtype) ? wanted : dtype;
  }

  Tensor rows_of(const Tensor& flat) const { return views::view(flat, {rows_, -1}); }

  /// Waits for a bucket's mean, and brings it to the gradients.
  void receive(Bucket& bucket) const {
    std::exchange(bucket.mean, {}).wait();
    const Tensor wire = std::exchange(bucket.wire, {});
    if (wire.is_same(bucket.flat)) return;
    const int64_t own = shards_ ? group_.rank() : 0;
    ops::copy_(views::select(rows_of(bucket.flat), 0, own), views::select(rows_of(wire), 0, own));
  }

  /// Waits for all means. Makes ready for the next backward().
  void finish() {
    const OpScope scope("wait for gradients", SpanKind::kBackward);
    std::vector<std::string> unused;
    for (const Slot& slot : slots_)
      if (!slot.has_arrived) unused.push_back(slot.name);
    const std::vector<int64_t> order = arrivals_;
    forget_arrivals();
    constexpr size_t kNamed = 5;
    const size_t named = std::min(unused.size(), kNamed);
    TAPER_CHECK(
        unused.empty(),
        "DistributedDataParallel: on rank {} the loss does not depend on {}{}, so other ranks would wait for "
        "gradients for ever; freeze what is not used (set_requires_grad(false)) or use all of it",
        group_.rank(), fmt::join(unused.begin(), unused.begin() + int64_t(named), ", "),
        unused.size() > named ? fmt::format(" and {} others", unused.size() - named) : "");
    if (!order_is_known_) send_in_order(order);
    if (!travels_) return;
    for (Bucket& bucket : buckets_) receive(bucket);
    if (!shards_) return;
    for (const Slot& slot : slots_)
      shards_->shard_of(slot.parameter)
          .set_grad(shards_->shard_in_bucket(slot.parameter, buckets_[slot.bucket].flat));
  }

  /// The first backward() of all: its gradients travel once their order is known. So a run that is resumed adds the same
  /// numbers in the same order as one that went on.
  void send_in_order(const std::vector<int64_t>& own) {
    learn_order(own);
    order_is_known_ = true;
    for (Bucket& bucket : buckets_) bucket.missing = 0;
    send_full_buckets();
    forget_arrivals();
  }

  /// Fills the buckets in the order of rank 0's gradients. Gradients that are there move with their places.
  void learn_order(const std::vector<int64_t>& own) {
    const Tensor agreed = from_vector(own);
    group_.broadcast(agreed, 0, "order of gradients").wait();
    std::vector<Tensor> grads;
    for (const Slot& slot : slots_) grads.push_back(slot.home);
    fill_buckets(ops::to_vector<int64_t>(agreed));
    if (!travels_) return;
    for (size_t i = 0; i < slots_.size(); ++i) {
      ops::copy_(slots_[i].home, grads[i]);
      slots_[i].parameter.set_grad(slots_[i].home);
    }
  }

  ProcessGroup& group_;
  DataParallelOptions options_;
  std::vector<Slot> slots_;
  std::vector<Bucket> buckets_;
  std::vector<int64_t> arrivals_;  ///< slots in the order of this backward()
  size_t next_ = 0;                ///< the bucket to be sent next
  std::weak_ptr<int> pass_;        ///< lives as long as the engine is to call finish()
  bool order_is_known_ = false;
  bool
      travels_;  ///< false in a group of one: gradients stay where they are, and only the unused ones are named
  int64_t rows_ = 1;                                 ///< of a bucket: one for each rank, if they are sharded
  std::shared_ptr<const ShardedParameters> shards_;  ///< null: they are not
};

DistributedDataParallel::DistributedDataParallel(Module& model, ProcessGroup& group,
                                                 const DataParallelOptions& options)
    : model_(model), group_(group) {
  check_same_model(model, group);
  const NoGradGuard no_grad;
  std::vector<Collective> under_way;
  for (const Tensor& parameter : model.parameters())
    under_way.push_back(group.broadcast(parameter.detach(), 0, "weights"));
  for (Collective& one : under_way) one.wait();
  broadcast_buffers();
  reducer_ = std::make_shared<Reducer>(model, group, options);
  reducer_->register_hooks();
}

DistributedDataParallel::~DistributedDataParallel() = default;

void DistributedDataParallel::broadcast_buffers() {
  std::vector<Collective> under_way;
  for (const Tensor& buffer : model_.buffers()) under_way.push_back(group_.broadcast(buffer, 0, "buffers"));
  for (Collective& one : under_way) one.wait();
}

std::shared_ptr<const ShardedParameters> DistributedDataParallel::shards() {
  return reducer_->shards();
}

std::vector<std::vector<std::string>> DistributedDataParallel::buckets() const {
  return reducer_->names();
}

DistributedDataParallel::NoSync::NoSync(DistributedDataParallel& parallel)
    : parallel_(parallel), previous_(std::exchange(parallel.reducer_->synchronises, false)) {}

DistributedDataParallel::NoSync::~NoSync() {
  parallel_.reducer_->synchronises = previous_;
}

}  // namespace taper
