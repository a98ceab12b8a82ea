// Before each collective rank 0 calls the roll: every rank sends what it is about to call, and gets rank 0's verdict.
// So nobody begins a collective that cannot end, and all ranks hear which one is missing or calls another collective.
// Two short messages a rank; what follows is the library's own algorithm.

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "taper/ops/collective/mpi/library.h"
#include "taper/ops/collective/mpi_group.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;
using detail::MpiLibrary;

constexpr int kRollCallTag = 1, kVerdictTag = 2;
/// Other ranks wait longer than rank 0, whose verdict says more than "rank 0 does not answer".
constexpr CollectiveTimeout kGrace{5};
constexpr int64_t kLargestCall = int64_t(1) << 30;  // MPI counts in int

/// What a rank is about to call, as it travels.
struct Announcement {
  CollectiveKind kind;
  ReduceOp op;
  DType dtype;
  int root;
  int64_t count, number;
  char label[64];
  char host[64];
};

/// Empty: go on.
struct Verdict {
  char text[448];
};

template <size_t n>
void put(char (&field)[n], const std::string& text) {
  std::strncpy(field, text.c_str(), n - 1);
  field[n - 1] = 0;
}

CollectiveCall call_of(const Announcement& one) {
  return {.kind = one.kind,
          .op = one.op,
          .root = one.root,
          .dtype = one.dtype,
          .count = one.count,
          .label = one.label,
          .number = one.number};
}

class MpiBackend final : public CollectiveBackend {
 public:
  explicit MpiBackend(CollectiveTimeout timeout) : timeout_(timeout) {
    int provided = 0;
    mpi_.check(mpi_.init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    TAPER_CHECK(provided >= MPI_THREAD_SERIALIZED, "this MPI cannot be called from several threads");
    mpi_.comm_set_errhandler(mpi_.world, mpi_.errors_return);
    mpi_.check(mpi_.comm_rank(mpi_.world, &rank_), "MPI_Comm_rank");
    mpi_.check(mpi_.comm_size(mpi_.world, &size_), "MPI_Comm_size");
    const MpiPlace place = mpi_place().value_or(MpiPlace());
    TAPER_CHECK(size_ == place.size && rank_ == place.rank,
                "the launcher calls this process rank {} of {}, and Open MPI rank {} of {}: start with Open "
                "MPI's own "
                "mpirun, or with srun --mpi=pmix",
                place.rank, place.size, rank_, size_);
    char host[MPI_MAX_PROCESSOR_NAME] = {};
    int length = 0;
    mpi_.check(mpi_.get_processor_name(host, &length), "MPI_Get_processor_name");
    host_.assign(host, size_t(length));
    announced_.resize(size_t(size_));
    hosts_.assign(size_t(size_), "an unknown host");
  }
  ~MpiBackend() override {
    if (!failed_) mpi_.finalize();  // which would wait for ranks that do not answer
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  [[noreturn]] void abort(int exit_code) noexcept override {
    mpi_.abort(mpi_.world, exit_code);
    std::_Exit(exit_code);
  }

  void run(const CollectiveCall& call, void* data) override {
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout_);
    failed_ = true;
    call_roll(call, deadline);
    carry_out(call, static_cast<char*>(data), deadline);
    failed_ = false;
  }

 private:
  /// Waits until all requests are done. Returns false if that takes until `deadline`. `spinning`: asks all the time,
  /// because the library moves data only while it is asked.
  bool finish(std::vector<MPI_Request>& requests, Clock::time_point deadline, bool spinning) {
    constexpr int kPatience = 100;
    constexpr std::chrono::microseconds kNap{50};
    for (int asked = 0;; ++asked) {
      int done = 0;
      mpi_.check(mpi_.testall(int(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
                 "MPI_Testall");
      if (done != 0) return true;
      if (Clock::now() >= deadline) return false;
      if (spinning || asked < kPatience)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(kNap);
    }
  }

  void call_roll(const CollectiveCall& call, Clock::time_point deadline) {
    Announcement& own = announced_[size_t(rank_)];
    own = {.kind = call.kind,
           .op = call.op,
           .dtype = call.dtype,
           .root = call.root,
           .count = call.count,
           .number = call.number,
           .label = {},
           .host = {}};
    put(own.label, call.label);
    put(own.host, host_);
    rank_ == 0 ? judge(deadline) : answer(own, deadline);
  }

  void answer(const Announcement& own, Clock::time_point deadline) {
    std::vector<MPI_Request> requests(2);
    Verdict verdict = {};
    mpi_.check(mpi_.isend(&own, sizeof own, mpi_.byte, 0, kRollCallTag, mpi_.world, &requests[0]),
               "MPI_Isend");
    mpi_.check(mpi_.irecv(&verdict, sizeof verdict, mpi_.byte, 0, kVerdictTag, mpi_.world, &requests[1]),
               "MPI_Irecv");
    const auto grace = std::chrono::duration_cast<Clock::duration>(kGrace);
    if (!finish(requests, deadline + grace, false))
      fail<CollectiveError>("rank 0 did not answer to {} within {:g} s", call_of(own).describe(),
                            (timeout_ + kGrace).count());
    if (verdict.text[0] != 0) fail<CollectiveError>("{}", verdict.text);
  }

  void judge(Clock::time_point deadline) {
    std::vector<std::vector<MPI_Request>> arrivals(announced_.size());  // one request each
    for (int rank = 1; rank < size_; ++rank) {
      auto& request = arrivals[size_t(rank)].emplace_back();
      mpi_.check(mpi_.irecv(&announced_[size_t(rank)], sizeof(Announcement), mpi_.byte, rank, kRollCallTag,
                            mpi_.world, &request),
                 "MPI_Irecv");
    }
    Verdict verdict = {};
    std::vector<bool> is_here(announced_.size());
    const CollectiveCall wanted = call_of(announced_[0]);
    for (int rank = 1; rank < size_; ++rank) {
      is_here[size_t(rank)] = finish(arrivals[size_t(rank)], deadline, false);
      if (!is_here[size_t(rank)]) {
        if (verdict.text[0] == 0)
          put(verdict.text, fmt::format("rank {} on {} did not come to {} within {:g} s", rank,
                                        hosts_[size_t(rank)], wanted.describe(), timeout_.count()));
        continue;
      }
      hosts_[size_t(rank)] = announced_[size_t(rank)].host;
      if (const CollectiveCall found = call_of(announced_[size_t(rank)]);
          found != wanted && verdict.text[0] == 0)
        put(verdict.text, fmt::format("rank {} on {} calls {} while rank 0 calls {}", rank,
                                      hosts_[size_t(rank)], found.describe(), wanted.describe()));
    }
    std::vector<MPI_Request> answers;
    for (int rank = 1; rank < size_; ++rank) {
      if (!is_here[size_t(rank)]) continue;
      mpi_.check(mpi_.isend(&verdict, sizeof verdict, mpi_.byte, rank, kVerdictTag, mpi_.world,
                            &answers.emplace_back()),
                 "MPI_Isend");
    }
    finish(answers, Clock::now() + std::chrono::duration_cast<Clock::duration>(kGrace), false);
    if (verdict.text[0] != 0) fail<CollectiveError>("{}", verdict.text);
  }

  /// MPI counts in int: a larger call is carried out in pieces.
  void carry_out(const CollectiveCall& call, char* data, Clock::time_point deadline) {
    if (call.kind == CollectiveKind::kAllGather) return carry_out_piece(call, data, call.count, deadline);
    const int64_t piece = kLargestCall / int64_t(size_of(call.dtype));
    for (int64_t done = 0; done < call.count; done += piece)
      carry_out_piece(call, data + done * int64_t(size_of(call.dtype)), std::min(piece, call.count - done),
                      deadline);
  }

  void carry_out_piece(const CollectiveCall& call, void* data, int64_t count, Clock::time_point deadline) {
    std::vector<MPI_Request> request(1);
    auto* const type = mpi_.type_of(call.dtype);
    const int bytes = int(count * int64_t(size_of(call.dtype)));
    int status = MPI_SUCCESS;
    switch (call.kind) {
      case CollectiveKind::kAllReduce:
        status = mpi_.iallreduce(MPI_IN_PLACE, data, int(count), type,
                                 call.op == ReduceOp::kMax ? mpi_.max : mpi_.sum, mpi_.world, &request[0]);
        break;
      case CollectiveKind::kBroadcast:
        status = mpi_.ibcast(data, bytes, mpi_.byte, call.root, mpi_.world, &request[0]);
        break;
      case CollectiveKind::kAllGather:
        status = mpi_.iallgather(MPI_IN_PLACE, 0, mpi_.byte, data, bytes, mpi_.byte, mpi_.world, &request[0]);
        break;
    }
    mpi_.check(status, "an MPI collective");
    if (!finish(request, deadline, true))
      fail<CollectiveError>("{} came to a stop: a rank has died or hangs in it", call.describe());
  }

  MpiLibrary mpi_;
  CollectiveTimeout timeout_;
  int rank_ = 0, size_ = 1;
  std::string host_;
  std::vector<Announcement> announced_;  ///< by rank; other ranks use their own alone
  std::vector<std::string> hosts_;       ///< by rank, as heard in earlier roll calls
  bool failed_ = false;
};

}  // namespace

std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout timeout) {
  auto group = std::make_unique<ProcessGroup>(std::make_unique<MpiBackend>(timeout));
  group->gather_texts({}, "start");  // so that rank 0 knows every rank's host
  return group;
}

}  // namespace taper
