#include "taper/ops/collective/nccl_collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "taper/core/base/op_scope.h"

namespace taper {

using gpu::NcclDType;
using gpu::NcclOp;
using gpu::NcclResult;

struct NcclCollectives::UnderWay {
  using Clock = std::chrono::steady_clock;

  CollectiveCall call;
  Tensor x;
  gpu::Event ready, begin{gpu::EventTiming::kOn}, end{gpu::EventTiming::kOn};
  Clock::time_point deadline = {};
  bool is_captured = false;  ///< a part of a graph: nothing runs now, and nothing is to be watched
  std::mutex mutex;          ///< of what follows
  std::optional<gpu::Event> stall_begin, stall_end;  ///< around the wait of the stream that needs the result
};

namespace {

NcclDType nccl_dtype(DType dtype) {
  switch (dtype) {
    case kFloat32:
      return NcclDType::kFloat32;
    case kFloat64:
      return NcclDType::kFloat64;
    case kFloat16:
      return NcclDType::kFloat16;
    case kBFloat16:
      return NcclDType::kBFloat16;
    case kInt64:
      return NcclDType::kInt64;
    case kInt32:
      return NcclDType::kInt32;
    case kUInt8:
    case kBool:
      return NcclDType::kUInt8;
  }
  return NcclDType::kUInt8;
}

NcclOp nccl_op(ReduceOp op) {
  if (op == ReduceOp::kMax) return NcclOp::kMax;
  return op == ReduceOp::kMean ? NcclOp::kAvg : NcclOp::kSum;
}

constexpr double kSecondsPerMs = 1e-3;

}  // namespace

NcclCollectives::NcclCollectives(std::shared_ptr<const gpu::NcclLibrary> library, const gpu::NcclUniqueId& id,
                                 int rank, int size, int device, CollectiveTimeout timeout)
    : library_(std::move(library)),
      rank_(rank),
      device_(device),
      timeout_(timeout),
      stream_(gpu::stream_from_pool(device, gpu::StreamPriority::kHigh)) {
  const gpu::DeviceGuard guard(device);
  library_->check(library_->comm_init_rank(&comm_, size, id, rank), "ncclCommInitRank");
}

NcclCollectives::~NcclCollectives() {
  const gpu::DeviceGuard guard(device_);
  if (comm_ != nullptr) library_->comm_destroy(comm_);
}

std::shared_ptr<NcclCollectives::UnderWay> NcclCollectives::prepare(const CollectiveCall& call,
                                                                    const Tensor& x) {
  TAPER_CHECK(x.device().index == device_, "{}: the group's GPU is cuda:{}, and the tensor is on {}",
              call.name(), device_, x.device());
  auto one = std::make_shared<UnderWay>();
  one->call = call;
  one->x = x;
  one->is_captured = gpu::is_capturing(gpu::current_stream(device_));
  one->ready.record(gpu::current_stream(device_));
  return one;
}

void NcclCollectives::launch(const std::shared_ptr<UnderWay>& one) {
  const CollectiveCall& call = one->call;
  const OpScope scope(intern(call.label.empty() ? call.name() : call.label));
  const gpu::StreamGuard guard(stream_);
  stream_.wait(one->ready);
  if (!one->is_captured) one->begin.record(stream_);
  char* const data = static_cast<char*>(one->x.data_ptr());
  char* const own = data + int64_t(rank_) * call.count * int64_t(size_of(call.dtype));
  const auto count = size_t(call.count);
  const NcclDType dtype = nccl_dtype(call.dtype);
  auto* const stream = stream_.handle();
  NcclResult result = {};
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      result = library_->all_reduce(data, data, count, dtype, nccl_op(call.op), comm_, stream);
      break;
    case CollectiveKind::kBroadcast:
      result = library_->broadcast(data, data, count, dtype, call.root, comm_, stream);
      break;
    case CollectiveKind::kAllGather:
      result = library_->all_gather(own, data, count, dtype, comm_, stream);
      break;
    case CollectiveKind::kReduceScatter:
      result = library_->reduce_scatter(data, own, count, dtype, nccl_op(call.op), comm_, stream);
      break;
  }
  library_->check(result, "an NCCL collective");
  one->end.record(stream_);
  if (one->is_captured) return;
  one->deadline = UnderWay::Clock::now() + std::chrono::duration_cast<UnderWay::Clock::duration>(timeout_);
  under_way_.push_back(one);
}

void NcclCollectives::wait(UnderWay& one) {
  const gpu::Stream current = gpu::current_stream(device_);
  if (one.is_captured) return current.wait(one.end);
  const std::lock_guard lock(one.mutex);
  one.stall_begin.emplace(gpu::EventTiming::kOn).record(current);
  current.wait(one.end);
  one.stall_end.emplace(gpu::EventTiming::kOn).record(current);
}

std::string NcclCollectives::watch(const std::function<void(const CollectiveCall&, const Cost&)>& ended) {
  if (comm_ == nullptr) return {};
  const gpu::DeviceGuard guard(device_);
  while (!under_way_.empty()) {
    const std::shared_ptr<UnderWay> one = under_way_.front();
    if (!one->end.query()) break;
    const std::lock_guard lock(one->mutex);
    Cost cost = {.seconds = one->end.elapsed_ms(one->begin) * kSecondsPerMs};
    if (one->stall_end) {
      if (!one->stall_end->query()) break;
      cost.waited_seconds = one->stall_end->elapsed_ms(*one->stall_begin) * kSecondsPerMs;
    }
    ended(one->call, cost);
    under_way_.pop_front();
  }
  if (under_way_.empty()) return {};
  const UnderWay& oldest = *under_way_.front();
  NcclResult error = {};
  library_->comm_get_async_error(comm_, &error);
  if (error != NcclResult::kSuccess && error != NcclResult::kInProgress)
    return fmt::format("{} failed on the GPU of rank {}: {}", oldest.call.describe(), rank_,
                       library_->get_error_string(error));
  if (UnderWay::Clock::now() > oldest.deadline)
    return fmt::format("{} does not end on the GPU of rank {} within {:g} s", oldest.call.describe(), rank_,
                       timeout_.count());
  return {};
}

void NcclCollectives::abort() noexcept {
  if (comm_ != nullptr) library_->comm_abort(std::exchange(comm_, nullptr));
}

std::string use_nccl(ProcessGroup& group, int device, const std::vector<std::string>& libraries) {
  const auto library = std::make_shared<const gpu::NcclLibrary>(libraries);
  // A GPU in the simulated machine has no bus, and a number of its own.
  const std::string& bus = gpu::properties(device).pci_bus_id;
  const std::string own = fmt::format("{} {}", group.host(), bus.empty() ? std::to_string(device) : bus);
  const std::vector<std::string> failures = group.gather_texts(library->failure, "NCCL's libraries");
  const std::vector<std::string> gpus = group.gather_texts(own, "GPUs");
  for (size_t rank = 0; rank < gpus.size(); ++rank) {
    if (!failures[rank].empty()) return fmt::format("rank {} has no NCCL: {}", rank, failures[rank]);
    if (const auto other = size_t(std::ranges::find(gpus, gpus[rank]) - gpus.begin()); other < rank)
      return fmt::format("ranks {} and {} use one GPU, {}", other, rank, gpus[rank]);
  }
  gpu::NcclUniqueId id = {};
  if (group.rank() == 0) library->check(library->get_unique_id(&id), "ncclGetUniqueId");
  const std::string text = group.gather_texts(std::string(id.internal, sizeof id.internal), "NCCL's id")[0];
  std::memcpy(id.internal, text.data(), sizeof id.internal);
  group.set_nccl(
      std::make_unique<NcclCollectives>(library, id, group.rank(), group.size(), device, group.timeout()));
  return {};
}

}  // namespace taper
