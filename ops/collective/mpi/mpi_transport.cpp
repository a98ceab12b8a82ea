#include <cstdlib>
#include <thread>
#include <vector>

#include "taper/ops/collective/mpi/library.h"
#include "taper/ops/collective/mpi_group.h"
#include "taper/ops/collective/rank_place.h"
#include "taper/ops/collective/transport.h"

namespace taper {
namespace {

class MpiTransport final : public Transport {
 public:
  MpiTransport() {
    int provided = 0;
    // The group's thread calls MPI at any time, and the program may have calls of its own.
    mpi_.check(mpi_.init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    TAPER_CHECK(provided >= MPI_THREAD_SERIALIZED, "this MPI cannot be called from several threads");
    mpi_.comm_set_errhandler(mpi_.world, mpi_.errors_return);
    mpi_.check(mpi_.comm_rank(mpi_.world, &rank_), "MPI_Comm_rank");
    mpi_.check(mpi_.comm_size(mpi_.world, &size_), "MPI_Comm_size");
    const RankPlace place = rank_place().value_or(RankPlace());
    TAPER_CHECK(size_ == place.size && rank_ == place.rank,
                "the launcher calls this process rank {} of {}, and Open MPI rank {} of {}: start with Open "
                "MPI's own mpirun, or with srun --mpi=pmix",
                place.rank, place.size, rank_, size_);
    char host[MPI_MAX_PROCESSOR_NAME] = {};
    int length = 0;
    mpi_.check(mpi_.get_processor_name(host, &length), "MPI_Get_processor_name");
    host_.assign(host, size_t(length));
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& host() const override { return host_; }

  Transfer send(int to, Channel channel, const void* data, size_t bytes) override {
    const Transfer transfer = free_slot();
    mpi_.check(
        mpi_.isend(data, int(bytes), mpi_.byte, to, int(channel), mpi_.world, &requests_[size_t(transfer)]),
        "MPI_Isend");
    return transfer;
  }
  Transfer receive(int from, Channel channel, void* data, size_t bytes) override {
    const Transfer transfer = free_slot();
    mpi_.check(
        mpi_.irecv(data, int(bytes), mpi_.byte, from, int(channel), mpi_.world, &requests_[size_t(transfer)]),
        "MPI_Irecv");
    return transfer;
  }
  bool done(Transfer transfer) override {
    int is_done = 0;
    mpi_.check(mpi_.test(&requests_[size_t(transfer)], &is_done, MPI_STATUS_IGNORE), "MPI_Test");
    if (is_done != 0) free_.push_back(transfer);
    return is_done != 0;
  }
  void rest() override {
    constexpr std::chrono::microseconds kNap{50};
    std::this_thread::sleep_for(kNap);
  }
  /// MPI_Finalize waits for all ranks, which is why it is not called after a failure.
  void leave() noexcept override {
    for (MPI_Request& request : requests_) {
      if (request == mpi_.request_null) continue;
      mpi_.cancel(&request);
      mpi_.request_free(&request);
    }
    mpi_.finalize();
  }
  [[noreturn]] void abort(int exit_code) noexcept override {
    mpi_.abort(mpi_.world, exit_code);
    std::_Exit(exit_code);
  }

 private:
  Transfer free_slot() {
    if (free_.empty()) {
      requests_.push_back(mpi_.request_null);
      return Transfer(requests_.size()) - 1;
    }
    const Transfer transfer = free_.back();
    free_.pop_back();
    return transfer;
  }

  detail::MpiLibrary mpi_;
  int rank_ = 0, size_ = 1;
  std::string host_;
  std::vector<MPI_Request> requests_;  ///< by transfer
  std::vector<Transfer> free_;
};

}  // namespace

std::unique_ptr<ProcessGroup> make_mpi_group(CollectiveTimeout timeout) {
  auto group = std::make_unique<ProcessGroup>(std::make_unique<MpiTransport>(), timeout);
  group->barrier();  // so that rank 0 knows every rank's host
  return group;
}

}  // namespace taper
