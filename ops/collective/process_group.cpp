#include "taper/ops/collective/process_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <future>
#include <optional>
#include <utility>

#include "taper/core/base/op_scope.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string_view name_of(const CollectiveCall& call) {
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      return call.op == ReduceOp::kMax ? "all-reduce (max)" : "all-reduce";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllGather:
      return "all-gather";
  }
  return "collective";
}

void divide(void* data, int64_t count, DType dtype, int divisor) {
  const auto each = [&](auto* values) {
    using T = std::remove_reference_t<decltype(*values)>;
    const T factor = T(1) / T(divisor);
    for (int64_t i = 0; i < count; ++i) values[i] *= factor;
  };
  dtype == kFloat64 ? each(static_cast<double*>(data)) : each(static_cast<float*>(data));
}

}  // namespace

std::string CollectiveCall::describe() const {
  return fmt::format("{} {} of {} {}{}", name_of(*this), number, count, dtype,
                     label.empty() ? "" : fmt::format(" ({})", label));
}

/// The caller's thread and the group's share it; `done` orders them.
struct Collective::State {
  ProcessGroup& group;
  Tensor x;                           ///< gets the result
  Tensor wire;                        ///< what travels: x itself or a copy in host memory
  std::optional<gpu::Event> arrived;  ///< x is in `wire` after it
  std::future<void> done;
};

void Collective::wait() {
  if (!state_) return;
  const std::shared_ptr<State> state = std::exchange(state_, nullptr);
  const Clock::time_point begin = Clock::now();
  state->done.wait();
  {
    const std::lock_guard lock(state->group.mutex_);
    state->group.statistics_.waited_seconds += seconds_since(begin);
  }
  state->done.get();
  if (!state->wire.is_same(state->x))
    ops::copy_(state->x, state->wire, true);
  else
    state->x.bump_version();
}

ProcessGroup::ProcessGroup(std::unique_ptr<CollectiveBackend> backend)
    : backend_(std::move(backend)), thread_([this] { work(); }) {}

ProcessGroup::~ProcessGroup() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  enqueued_.notify_all();
  thread_.join();
}

void ProcessGroup::work() {
  set_thread_name("collectives");
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      enqueued_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

void ProcessGroup::enqueue(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  enqueued_.notify_one();
}

void ProcessGroup::run(const CollectiveCall& call, void* data) {
  const OpScope scope(intern(call.label.empty() ? name_of(call) : call.label));
  const Clock::time_point begin = Clock::now();
  CollectiveCall carried = call;
  if (call.op == ReduceOp::kMean) carried.op = ReduceOp::kSum;
  if (size() > 1 || call.kind != CollectiveKind::kAllReduce) backend_->run(carried, data);
  if (call.op == ReduceOp::kMean && size() > 1) divide(data, call.count, call.dtype, size());
  const std::lock_guard lock(mutex_);
  ++statistics_.calls;
  statistics_.bytes += call.count * int64_t(size_of(call.dtype));
  statistics_.seconds += seconds_since(begin);
}

Collective ProcessGroup::start(CollectiveCall call, const Tensor& x, DType wire_dtype) {
  TAPER_CHECK(x.defined() && x.is_dense(), "{}: the tensor must be dense, got {}", name_of(call),
              x.defined() ? fmt::format("strides {} for shape {}", x.strides(), x.shape()) : "none");
  const Tensor converted = ops::cast(x, wire_dtype);
  auto state = std::make_shared<Collective::State>(
      Collective::State{*this, x, ops::to_device(converted, kCPU, true), std::nullopt, {}});
  if (x.device().is_cuda()) state->arrived.emplace().record(gpu::current_stream(x.device().index));
  call.dtype = wire_dtype;
  call.count = x.numel();
  call.number = ++last_number_;
  auto task = std::make_shared<std::packaged_task<void()>>([this, call, state = state.get()] {
    if (state->arrived) state->arrived->synchronize();
    run(call, state->wire.data_ptr());
  });
  state->done = task->get_future();
  enqueue([task, state] { (*task)(); });
  return Collective(std::move(state));
}

Collective ProcessGroup::all_reduce(const Tensor& x, ReduceOp op, std::string label) {
  const DType dtype = x.dtype();
  TAPER_CHECK(is_floating_point(dtype) || ((dtype == kInt32 || dtype == kInt64) && op != ReduceOp::kMean),
              "all_reduce: cannot take the {} of {} elements",
              op == ReduceOp::kMean ? "mean" : "sum or maximum", dtype);
  return start({.kind = CollectiveKind::kAllReduce, .op = op, .label = std::move(label)}, x,
               is_half(dtype) ? kFloat32 : dtype);
}

Collective ProcessGroup::broadcast(const Tensor& x, int root, std::string label) {
  TAPER_CHECK(root >= 0 && root < size(), "broadcast: there is no rank {} among {}", root, size());
  return start({.kind = CollectiveKind::kBroadcast, .root = root, .label = std::move(label)}, x, x.dtype());
}

std::vector<std::string> ProcessGroup::gather_texts(const std::string& text, const std::string& label) {
  const auto gather = [&](const void* own, size_t bytes) {
    auto all = std::make_shared<std::vector<char>>(bytes * size_t(size()));
    if (bytes == 0) return all;
    std::memcpy(all->data() + bytes * size_t(rank()), own, bytes);
    const CollectiveCall call = {.kind = CollectiveKind::kAllGather,
                                 .count = int64_t(bytes),
                                 .label = label,
                                 .number = ++last_number_};
    auto task = std::make_shared<std::packaged_task<void()>>([this, call, all] { run(call, all->data()); });
    std::future<void> done = task->get_future();
    enqueue([task] { (*task)(); });
    done.get();
    return all;
  };
  const uint64_t length = text.size();
  std::vector<uint64_t> lengths(static_cast<size_t>(size()));
  std::memcpy(lengths.data(), gather(&length, sizeof length)->data(), lengths.size() * sizeof length);
  const size_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string padded = text;
  padded.resize(longest);
  const auto all = gather(padded.data(), longest);
  std::vector<std::string> texts;
  for (size_t i = 0; i < lengths.size(); ++i) texts.emplace_back(all->data() + i * longest, lengths[i]);
  return texts;
}

void ProcessGroup::abort(int exit_code) noexcept {
  backend_->abort(exit_code);
  std::abort();  // not reached: it tells GCC that a virtual function does not return
}

CollectiveStatistics ProcessGroup::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace taper
