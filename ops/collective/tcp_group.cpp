#include "taper/ops/collective/tcp_group.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "taper/ops/collective/tcp_meeting.h"
#include "taper/ops/collective/transport.h"

namespace taper {
namespace {

/// Goes before every message.
struct Header {
  uint64_t bytes = 0;
  uint64_t channel = 0;
};

/// Another rank. Messages that nobody waits for yet are kept.
struct Peer {
  struct Outgoing {
    Transport::Transfer number;
    Header header;
    const char* data;
    size_t sent = 0;  ///< of header and data together
  };
  struct Expected {
    Transport::Transfer number;
    char* data;
    size_t bytes;
  };
  struct Box {
    std::deque<Expected> expected;
    std::deque<std::vector<char>> early;  ///< come before they were expected
  };

  detail::Socket socket;
  bool is_lost = false;
  std::deque<Outgoing> outgoing;
  std::array<Box, 2> boxes;  ///< by channel
  // The message that is coming in.
  Header header = {};
  size_t received = 0;           ///< of header and data together
  Expected target = {};          ///< where it goes; no number for an early one
  std::vector<char> early = {};  ///< where an early one goes
};

class TcpTransport final : public Transport {
 public:
  TcpTransport(const RankPlace& place, std::vector<detail::Socket> sockets)
      : rank_(place.rank), peers_(sockets.size()) {
    for (size_t rank = 0; rank < sockets.size(); ++rank) peers_[rank].socket = std::move(sockets[rank]);
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    host_ = host;
  }

  int rank() const override { return rank_; }
  int size() const override { return int(peers_.size()); }
  const std::string& host() const override { return host_; }

  Transfer send(int to, Channel channel, const void* data, size_t bytes) override {
    const Transfer number = begin(to);
    peers_[size_t(to)].outgoing.push_back(
        {number, {bytes, uint64_t(channel)}, static_cast<const char*>(data)});
    push(to);
    return number;
  }

  Transfer receive(int from, Channel channel, void* data, size_t bytes) override {
    const Transfer number = begin(from);
    Peer::Box& box = peers_[size_t(from)].boxes[size_t(channel)];
    const Peer::Expected expected = {number, static_cast<char*>(data), bytes};
    if (box.early.empty()) {
      box.expected.push_back(expected);
      return number;
    }
    const std::vector<char>& message = box.early.front();
    check_size(message.size(), bytes);
    if (bytes > 0) std::memcpy(data, message.data(), bytes);
    box.early.pop_front();
    under_way_.erase(number);
    return number;
  }

  bool done(Transfer transfer) override {
    const auto found = under_way_.find(transfer);
    if (found == under_way_.end()) return true;
    const int other = found->second;
    push(other);
    pull(other);
    if (!under_way_.contains(transfer)) return true;
    if (peers_[size_t(other)].is_lost) {
      under_way_.erase(transfer);
      throw RankLostError(other, fmt::format("rank {} has ended", other));
    }
    return false;
  }

  /// Waits for a message, and takes what has come.
  void rest() override {
    std::vector<pollfd> sockets;
    for (const Peer& peer : peers_) {
      const bool is_watched = peer.socket.is_open() && !peer.is_lost;
      const int events = POLLIN | (peer.outgoing.empty() ? 0 : POLLOUT);
      sockets.push_back(
          {.fd = is_watched ? peer.socket.descriptor() : -1, .events = short(events), .revents = 0});
    }
    if (::poll(sockets.data(), sockets.size(), 1) <= 0) return;
    for (size_t rank = 0; rank < sockets.size(); ++rank)
      if (sockets[rank].revents != 0) {
        push(int(rank));
        pull(int(rank));
      }
  }

  /// A socket that is closed with bytes unread breaks the connection, and the other side may lose what it has not read.
  /// So each side says that it sends no more, and reads until the other says so, too.
  void leave() noexcept override {
    constexpr std::chrono::seconds kPatience{2};
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (size_t rank = 0; rank < peers_.size(); ++rank) {
      while (!peers_[rank].outgoing.empty() && !peers_[rank].is_lost &&
             std::chrono::steady_clock::now() < end)
        rest();
      if (peers_[rank].socket.is_open()) ::shutdown(peers_[rank].socket.descriptor(), SHUT_WR);
    }
    for (Peer& peer : peers_)
      while (peer.socket.is_open() && !peer.is_lost && std::chrono::steady_clock::now() < end) rest();
  }

  [[noreturn]] void abort(int exit_code) noexcept override { std::_Exit(exit_code); }

 private:
  Transfer begin(int other) {
    under_way_.emplace(++last_, other);
    return last_;
  }

  static void check_size(size_t found, size_t expected) {
    TAPER_CHECK(found == expected, "a message of {} bytes came where {} were expected", found, expected);
  }

  /// Sends what the socket takes.
  void push(int to) {
    Peer& peer = peers_[size_t(to)];
    while (!peer.outgoing.empty() && !peer.is_lost) {
      Peer::Outgoing& message = peer.outgoing.front();
      const size_t of_header = std::min(message.sent, sizeof(Header));
      const size_t of_data = message.sent - of_header;
      std::array<iovec, 2> parts = {
          iovec{reinterpret_cast<char*>(&message.header) + of_header, sizeof(Header) - of_header},
          iovec{const_cast<char*>(message.data) + of_data, message.header.bytes - of_data}};
      msghdr all = {};
      all.msg_iov = parts.data();
      all.msg_iovlen = parts.size();
      const ssize_t sent = ::sendmsg(peer.socket.descriptor(), &all, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (sent < 0) {
        lose(peer);
        return;
      }
      message.sent += size_t(sent);
      if (message.sent < sizeof(Header) + message.header.bytes) return;
      under_way_.erase(message.number);
      peer.outgoing.pop_front();
    }
  }

  /// What a rank sent before it ended is read first.
  void lose(Peer& peer) {
    peer.outgoing.clear();
    peer.is_lost = true;
    while (read_some(peer)) {
    }
  }

  /// Takes what has come.
  void pull(int from) {
    Peer& peer = peers_[size_t(from)];
    while (!peer.is_lost && read_some(peer)) {
    }
  }

  /// Returns whether there may be more.
  bool read_some(Peer& peer) {
    const bool in_header = peer.received < sizeof(Header);
    char* const to = in_header ? reinterpret_cast<char*>(&peer.header) + peer.received
                               : peer.target.data + (peer.received - sizeof(Header));
    const size_t wanted =
        in_header ? sizeof(Header) - peer.received : peer.header.bytes - (peer.received - sizeof(Header));
    const ssize_t got = wanted == 0 ? 0 : ::recv(peer.socket.descriptor(), to, wanted, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (wanted > 0 && got <= 0) {
      peer.is_lost = true;
      return false;
    }
    peer.received += size_t(got);
    if (in_header && peer.received == sizeof(Header)) choose_target(peer);
    if (peer.received >= sizeof(Header) && peer.received == sizeof(Header) + peer.header.bytes) arrive(peer);
    return true;
  }

  void choose_target(Peer& peer) {
    TAPER_CHECK(peer.header.channel < peer.boxes.size(), "a message came that no rank has sent");
    Peer::Box& box = peer.boxes[peer.header.channel];
    if (box.expected.empty()) {
      peer.early.resize(peer.header.bytes);
      peer.target = {0, peer.early.data(), peer.early.size()};
      return;
    }
    peer.target = box.expected.front();
    check_size(peer.header.bytes, peer.target.bytes);
  }

  void arrive(Peer& peer) {
    Peer::Box& box = peer.boxes[peer.header.channel];
    peer.received = 0;
    if (peer.target.number != 0) {
      box.expected.pop_front();
      under_way_.erase(peer.target.number);
      return;
    }
    if (box.expected.empty()) {
      box.early.push_back(std::exchange(peer.early, {}));
      return;
    }
    // It was expected while it was coming.
    const Peer::Expected expected = box.expected.front();
    box.expected.pop_front();
    check_size(peer.early.size(), expected.bytes);
    if (expected.bytes > 0) std::memcpy(expected.data, peer.early.data(), expected.bytes);
    under_way_.erase(expected.number);
    peer.early.clear();
  }

  int rank_;
  std::string host_;
  std::vector<Peer> peers_;                      ///< by rank; the own one has no socket
  std::unordered_map<Transfer, int> under_way_;  ///< and the rank that it comes from or goes to
  Transfer last_ = 0;
};

}  // namespace

std::unique_ptr<ProcessGroup> make_tcp_group(const RankPlace& place, CollectiveTimeout timeout) {
  auto group = std::make_unique<ProcessGroup>(
      std::make_unique<TcpTransport>(place, detail::meet(place, timeout)), timeout);
  group->barrier();  // so that rank 0 knows every rank's host
  return group;
}

}  // namespace taper
