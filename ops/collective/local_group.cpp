#include "taper/ops/collective/local_group.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>

namespace taper {
namespace {

/// The messages that threads have sent and not yet received.
class MailRoom {
 public:
  explicit MailRoom(int ranks) : ranks_(size_t(ranks)), boxes_(ranks_ * ranks_ * 2) {}

  void put(int from, int to, Channel channel, const void* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::vector<char>& message = box(from, to, channel).emplace_back(bytes);
    if (bytes > 0) std::memcpy(message.data(), data, bytes);
    came_.notify_all();
  }

  bool take(int from, int to, Channel channel, void* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& waiting = box(from, to, channel);
    if (waiting.empty()) return false;
    TAPER_CHECK(waiting.front().size() == bytes, "a message of {} bytes came where {} were expected",
                waiting.front().size(), bytes);
    if (bytes > 0) std::memcpy(data, waiting.front().data(), bytes);
    waiting.pop_front();
    return true;
  }

  void wait_for_any() {
    constexpr std::chrono::milliseconds kPause{1};
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, kPause);
  }

 private:
  std::deque<std::vector<char>>& box(int from, int to, Channel channel) {
    return boxes_[(size_t(from) * ranks_ + size_t(to)) * 2 + size_t(channel)];
  }

  size_t ranks_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::deque<std::vector<char>>> boxes_;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(int rank, int size, std::shared_ptr<MailRoom> room)
      : rank_(rank), size_(size), room_(std::move(room)) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& host() const override { return host_; }

  Transfer send(int to, Channel channel, const void* data, size_t bytes) override {
    room_->put(rank_, to, channel, data, bytes);
    return kSent;
  }
  Transfer receive(int from, Channel channel, void* data, size_t bytes) override {
    expected_.push_back({last_ += 1, from, channel, data, bytes});
    return last_;
  }
  /// Transfers of one rank and channel are asked for in the order in which they began.
  bool done(Transfer transfer) override {
    if (transfer == kSent) return true;
    const auto one = std::ranges::find(expected_, transfer, &Expected::number);
    if (!room_->take(one->from, rank_, one->channel, one->data, one->bytes)) return false;
    expected_.erase(one);
    return true;
  }
  void rest() override { room_->wait_for_any(); }
  void leave() noexcept override {}
  [[noreturn]] void abort(int exit_code) noexcept override { std::_Exit(exit_code); }

 private:
  static constexpr Transfer kSent = 0;
  struct Expected {
    Transfer number;
    int from;
    Channel channel;
    void* data;
    size_t bytes;
  };

  int rank_, size_;
  std::string host_ = "this host";
  std::shared_ptr<MailRoom> room_;
  std::deque<Expected> expected_;
  Transfer last_ = kSent;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> make_local_transports(int ranks) {
  TAPER_CHECK(ranks >= 1, "make_local_groups: needs at least 1 rank, got {}", ranks);
  const auto room = std::make_shared<MailRoom>(ranks);
  std::vector<std::unique_ptr<Transport>> transports;
  for (int rank = 0; rank < ranks; ++rank)
    transports.push_back(std::make_unique<LocalTransport>(rank, ranks, room));
  return transports;
}

std::vector<std::unique_ptr<ProcessGroup>> make_local_groups(int ranks, CollectiveTimeout timeout) {
  std::vector<std::unique_ptr<ProcessGroup>> groups;
  for (auto& transport : make_local_transports(ranks))
    groups.push_back(std::make_unique<ProcessGroup>(std::move(transport), timeout));
  return groups;
}

}  // namespace taper
