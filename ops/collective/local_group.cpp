#include "taper/ops/collective/local_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace taper {
namespace {

/// Where the threads meet: the last one to come does the work for all.
class MeetingPoint {
 public:
  MeetingPoint(int ranks, CollectiveTimeout timeout) : arrivals_(size_t(ranks)), timeout_(timeout) {}

  void meet(int rank, const CollectiveCall& call, void* data) {
    std::unique_lock lock(mutex_);
    if (!failure_.empty()) fail<CollectiveError>("{}", failure_);
    arrivals_[size_t(rank)] = {&call, data};
    const int64_t round = round_;
    if (std::ranges::all_of(arrivals_, [](const Arrival& one) { return one.call != nullptr; })) {
      finish();
    } else if (!finished_.wait_for(lock, timeout_, [&] { return round_ != round; })) {
      for (size_t i = 0; i < arrivals_.size() && failure_.empty(); ++i)
        if (arrivals_[i].call == nullptr)
          failure_ =
              fmt::format("rank {} did not come to {} within {:g} s", i, call.describe(), timeout_.count());
      next_round();
    }
    if (!failure_.empty()) fail<CollectiveError>("{}", failure_);
  }

 private:
  struct Arrival {
    const CollectiveCall* call = nullptr;
    void* data = nullptr;
  };

  void finish() {
    const CollectiveCall& call = *arrivals_[0].call;
    for (size_t i = 1; i < arrivals_.size() && failure_.empty(); ++i)
      if (*arrivals_[i].call != call)
        failure_ = fmt::format("rank {} calls {} while rank 0 calls {}", i, arrivals_[i].call->describe(),
                               call.describe());
    if (failure_.empty()) carry_out(call);
    next_round();
  }

  void next_round() {
    std::ranges::fill(arrivals_, Arrival());
    ++round_;
    finished_.notify_all();
  }

  void carry_out(const CollectiveCall& call) {
    const size_t bytes = size_t(call.count) * size_of(call.dtype);
    if (call.kind == CollectiveKind::kAllGather) {
      for (size_t from = 0; from < arrivals_.size(); ++from)
        for (const Arrival& to : arrivals_)
          if (to.data != arrivals_[from].data)
            std::memcpy(static_cast<char*>(to.data) + from * bytes,
                        static_cast<char*>(arrivals_[from].data) + from * bytes, bytes);
      return;
    }
    if (call.kind == CollectiveKind::kAllReduce) reduce(call);
    const void* result = arrivals_[size_t(call.root)].data;
    for (const Arrival& to : arrivals_)
      if (to.data != result) std::memcpy(to.data, result, bytes);
  }

  /// Leaves the result with rank 0, the root of an all-reduce.
  void reduce(const CollectiveCall& call) {
    const auto of_type = [&]<class T>(T) {
      T* sum = static_cast<T*>(arrivals_[0].data);
      for (size_t rank = 1; rank < arrivals_.size(); ++rank) {
        const T* x = static_cast<const T*>(arrivals_[rank].data);
        for (int64_t i = 0; i < call.count; ++i)
          sum[i] = call.op == ReduceOp::kMax ? std::max(sum[i], x[i]) : T(sum[i] + x[i]);
      }
    };
    switch (call.dtype) {
      case kFloat32:
        return of_type(float());
      case kFloat64:
        return of_type(double());
      case kInt32:
        return of_type(int32_t());
      case kInt64:
        return of_type(int64_t());
      default:
        failure_ = fmt::format("cannot reduce {}", call.dtype);
    }
  }

  std::mutex mutex_;
  std::condition_variable finished_;
  std::vector<Arrival> arrivals_;
  CollectiveTimeout timeout_;
  int64_t round_ = 0;
  std::string failure_;
};

class LocalBackend final : public CollectiveBackend {
 public:
  LocalBackend(int rank, int size, std::shared_ptr<MeetingPoint> point)
      : rank_(rank), size_(size), point_(std::move(point)) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void run(const CollectiveCall& call, void* data) override { point_->meet(rank_, call, data); }
  [[noreturn]] void abort(int exit_code) noexcept override { std::_Exit(exit_code); }

 private:
  int rank_, size_;
  std::shared_ptr<MeetingPoint> point_;
};

}  // namespace

std::vector<std::unique_ptr<ProcessGroup>> make_local_groups(int ranks, CollectiveTimeout timeout) {
  TAPER_CHECK(ranks >= 1, "make_local_groups: needs at least 1 rank, got {}", ranks);
  const auto point = std::make_shared<MeetingPoint>(ranks, timeout);
  std::vector<std::unique_ptr<ProcessGroup>> groups;
  for (int rank = 0; rank < ranks; ++rank)
    groups.push_back(std::make_unique<ProcessGroup>(std::make_unique<LocalBackend>(rank, ranks, point)));
  return groups;
}

}  // namespace taper
