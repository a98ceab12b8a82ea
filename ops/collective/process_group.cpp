#include "taper/ops/collective/process_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <utility>

#include "taper/core/base/op_scope.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/views.h"
#include "taper/ops/collective/nccl_collectives.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Whether the tensor has a row for each rank.
bool has_parts(const CollectiveCall& call) {
  return call.kind == CollectiveKind::kAllGather || call.kind == CollectiveKind::kReduceScatter;
}

}  // namespace

/// The caller's thread and the group's share it; `done` orders them.
struct Collective::State {
  ProcessGroup& group;
  Tensor x;                                                ///< gets the result
  std::future<void> done = {};                             ///< on a GPU with NCCL: it is enqueued
  std::shared_ptr<NcclCollectives::UnderWay> on_gpu = {};  ///< null without NCCL
  // Without NCCL:
  Tensor wire = {};                          ///< what travels: x itself or a copy in host memory
  std::shared_ptr<gpu::Event> arrived = {};  ///< x is in `wire` after it; null on the CPU
};

void Collective::wait() {
  if (!state_) return;
  const std::shared_ptr<State> state = std::exchange(state_, nullptr);
  ProcessGroup& group = state->group;
  const Clock::time_point begin = Clock::now();
  state->done.wait();
  if (!state->on_gpu) {
    const std::lock_guard lock(group.mutex_);
    group.statistics_.waited_seconds += seconds_since(begin);
  }
  state->done.get();
  if (state->on_gpu) {
    group.throw_failure();
    group.nccl_->wait(*state->on_gpu);
  }
  if (!state->on_gpu && !state->wire.is_same(state->x))
    ops::copy_(state->x, state->wire, true);
  else
    state->x.bump_version();
}

ProcessGroup::ProcessGroup(std::unique_ptr<Transport> transport, CollectiveTimeout timeout)
    : timeout_(timeout), host_collectives_(std::move(transport), timeout), thread_([this] { work(); }) {}

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
  constexpr std::chrono::milliseconds kLookAround{50}, kPause{1};
  Clock::time_point looked = Clock::now();
  for (bool stops = false; !stops || (nccl_ && !nccl_->is_idle());) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      enqueued_.wait_for(lock, kLookAround, [&] { return stopping_ || !tasks_.empty(); });
      stops = stopping_ && tasks_.empty();
      if (!tasks_.empty()) {
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
    }
    if (task) task();
    if (stops && nccl_) std::this_thread::sleep_for(kPause);
    if (task && Clock::now() - looked < kLookAround) continue;
    look_around();
    looked = Clock::now();
  }
}

std::future<void> ProcessGroup::enqueue(std::function<void()> task) {
  const auto packaged = std::make_shared<std::packaged_task<void()>>(std::move(task));
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back([packaged] { (*packaged)(); });
  }
  enqueued_.notify_one();
  return packaged->get_future();
}

void ProcessGroup::look_around() {
  try {
    RollCall& roll_call = host_collectives_.roll_call();
    roll_call.listen();
    if (!nccl_ || roll_call.has_failed()) return;
    const std::string wrong =
        nccl_->watch([this](const CollectiveCall& call, const NcclCollectives::Cost& cost) {
          recorder_.ended(call.number);
          count(call, cost.seconds);
          const std::lock_guard lock(mutex_);
          statistics_.waited_seconds += cost.waited_seconds;
        });
    if (!wrong.empty()) roll_call.raise_alarm(wrong);
  } catch (const Error& error) {
    fail_for_good(recorder_.failed(last_begun_, error.what(), rank(), host()));
  }
}

void ProcessGroup::fail_for_good(const std::string& error) {
  if (nccl_) nccl_->abort();
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = error;
}

void ProcessGroup::throw_failure() const {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) fail<CollectiveError>("{}", failure_);
}

void ProcessGroup::run(const CollectiveCall& call, const std::function<void()>& task) {
  throw_failure();
  recorder_.began(call.number);
  last_begun_ = call.number;
  try {
    try {
      task();
    } catch (const Error& error) {
      if (host_collectives_.roll_call().has_failed()) throw;
      // This rank's own error: the others are to hear of it.
      host_collectives_.roll_call().raise_alarm(
          fmt::format("rank {} on {}: {}", rank(), host(), error.what()));
    }
  } catch (const Error& error) {
    fail_for_good(recorder_.failed(call.number, error.what(), rank(), host()));
    throw_failure();
  }
}

void ProcessGroup::run_in_host_memory(const CollectiveCall& call, void* data) {
  const OpScope scope(intern(call.label.empty() ? call.name() : call.label));
  const Clock::time_point begin = Clock::now();
  run(call, [&] { host_collectives_.run(call, data); });
  recorder_.ended(call.number);
  count(call, seconds_since(begin));
}

void ProcessGroup::count(const CollectiveCall& call, double seconds) {
  const std::lock_guard lock(mutex_);
  ++statistics_.calls;
  statistics_.bytes += call.count * int64_t(size_of(call.dtype)) * (has_parts(call) ? size() : 1);
  statistics_.seconds += seconds;
}

Collective ProcessGroup::start(CollectiveCall call, const Tensor& x) {
  TAPER_CHECK(x.defined() && x.is_dense(), "{}: the tensor must be dense, got {}", call.name(),
              x.defined() ? fmt::format("strides {} for shape {}", x.strides(), x.shape()) : "none");
  TAPER_CHECK(!has_parts(call) || (x.dim() >= 1 && x.size(0) == size() && x.is_contiguous()),
              "{}: the tensor must be contiguous with a row for each of {} ranks, got shape {}", call.name(),
              size(), x.shape());
  call.dtype = x.dtype();
  call.count = has_parts(call) ? x.numel() / size() : x.numel();
  call.number = ++last_number_;
  recorder_.called(call);
  return nccl_ && x.device().is_cuda() ? start_on_gpu(call, x) : start_in_host_memory(call, x);
}

Collective ProcessGroup::start_in_host_memory(const CollectiveCall& call, const Tensor& x) {
  auto state = std::make_shared<Collective::State>(Collective::State{.group = *this, .x = x});
  if (x.device().is_cuda()) {
    const gpu::Stream stream = gpu::current_stream(x.device().index);
    if (gpu::is_capturing(stream))
      fail<CaptureError>("{}: goes through host memory, which no graph can capture; see use_nccl()",
                         call.describe());
    state->wire = ops::to_device(x, kCPU, true);
    state->arrived = std::make_shared<gpu::Event>();
    state->arrived->record(stream);
  } else {
    state->wire = x;
  }
  state->done = enqueue([this, call, arrived = state->arrived, wire = state->wire] {
    if (arrived) arrived->synchronize();
    run_in_host_memory(call, wire.data_ptr());
  });
  return Collective(std::move(state));
}

Collective ProcessGroup::start_on_gpu(const CollectiveCall& call, const Tensor& x) {
  auto state = std::make_shared<Collective::State>(
      Collective::State{.group = *this, .x = x, .on_gpu = nccl_->prepare(call, x)});
  state->done = enqueue([this, call, on_gpu = state->on_gpu] {
    run(call, [&] {
      host_collectives_.roll_call().hold(call);
      nccl_->launch(on_gpu);
    });
  });
  return Collective(std::move(state));
}

static void check_reducible(const char* what, DType dtype, ReduceOp op) {
  TAPER_CHECK(is_floating_point(dtype) || ((dtype == kInt32 || dtype == kInt64) && op != ReduceOp::kMean),
              "{}: cannot take the {} of {} elements", what,
              op == ReduceOp::kMean ? "mean" : "sum or maximum", dtype);
}

Collective ProcessGroup::all_reduce(const Tensor& x, ReduceOp op, std::string label) {
  check_reducible("all_reduce", x.dtype(), op);
  return start({.kind = CollectiveKind::kAllReduce, .op = op, .label = std::move(label)}, x);
}

Collective ProcessGroup::reduce_scatter(const Tensor& x, ReduceOp op, std::string label) {
  check_reducible("reduce_scatter", x.dtype(), op);
  return start({.kind = CollectiveKind::kReduceScatter, .op = op, .label = std::move(label)}, x);
}

Collective ProcessGroup::broadcast(const Tensor& x, int root, std::string label) {
  TAPER_CHECK(root >= 0 && root < size(), "broadcast: there is no rank {} among {}", root, size());
  return start({.kind = CollectiveKind::kBroadcast, .root = root, .label = std::move(label)}, x);
}

Collective ProcessGroup::all_gather(const Tensor& x, std::string label) {
  return start({.kind = CollectiveKind::kAllGather, .label = std::move(label)}, x);
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
    recorder_.called(call);
    enqueue([this, call, all] { run_in_host_memory(call, all->data()); }).get();
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

void ProcessGroup::set_nccl(std::unique_ptr<NcclCollectives> nccl) {
  enqueue([&] { nccl_ = std::move(nccl); }).get();
}

void ProcessGroup::abort(int exit_code) noexcept {
  host_collectives_.abort(exit_code);
}

CollectiveStatistics ProcessGroup::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace taper
