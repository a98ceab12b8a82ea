#include "taper/ops/collective/tcp_meeting.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "taper/core/base/warning.h"

namespace taper::detail {

Socket::~Socket() {
  if (is_open()) ::close(descriptor_);
}

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMagic = 0x3150435452455054;  // "TPERTCP1"

/// What a rank says when it connects.
struct Hello {
  uint64_t magic = kMagic;
  int32_t rank = 0, size = 0;
  int32_t port = 0;  ///< where it listens
};

/// Rank 0's answer about one rank.
struct Address {
  char host[64] = {};
  int32_t port = 0;
};

/// Begins rank 0's answer: empty for "welcome", and the addresses follow.
struct Welcome {
  char refusal[256] = {};
};

std::string last_error() {
  return std::strerror(errno);
}

/// Waits until the socket can be read, or written. Returns false at the deadline.
bool wait_for(const Socket& socket, short event, Clock::time_point deadline) {
  pollfd one = {.fd = socket.descriptor(), .events = event, .revents = 0};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 && ::poll(&one, 1, int(std::min<int64_t>(left, INT32_MAX))) == 1;
}

enum class Reading : uint8_t { kDone, kTooLate, kClosed };

Reading read_all(const Socket& socket, void* data, size_t bytes, Clock::time_point deadline) {
  char* to = static_cast<char*>(data);
  while (bytes > 0) {
    if (!wait_for(socket, POLLIN, deadline)) return Reading::kTooLate;
    const ssize_t got = ::recv(socket.descriptor(), to, bytes, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return Reading::kClosed;
    if (got > 0) to += got, bytes -= size_t(got);
  }
  return Reading::kDone;
}

/// Sends all bytes. Returns false if the other side closes or the time is up.
bool write_all(const Socket& socket, const void* data, size_t bytes, Clock::time_point deadline) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    if (!wait_for(socket, POLLOUT, deadline)) return false;
    const ssize_t put = ::send(socket.descriptor(), from, bytes, MSG_NOSIGNAL);
    if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (put > 0) from += put, bytes -= size_t(put);
  }
  return true;
}

/// Messages go out at once, and no call waits.
void set_up(const Socket& socket) {
  const int on = 1;
  ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(socket.descriptor(), F_SETFL, ::fcntl(socket.descriptor(), F_GETFL) | O_NONBLOCK);
}

/// Listens on all addresses of this host; on any free port for 0.
Socket listen_at(int port) {
  for (const int family : {AF_INET6, AF_INET}) {
    Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) continue;
    const int on = 1, off = 0;
    ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 address6 = {};
    sockaddr_in address4 = {};
    address6.sin6_family = AF_INET6;
    address6.sin6_port = htons(uint16_t(port));
    address4.sin_family = AF_INET;
    address4.sin_port = address6.sin6_port;
    if (family == AF_INET6) ::setsockopt(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    const auto* const address = family == AF_INET6 ? reinterpret_cast<const sockaddr*>(&address6)
                                                   : reinterpret_cast<const sockaddr*>(&address4);
    const socklen_t length = family == AF_INET6 ? sizeof address6 : sizeof address4;
    if (::bind(socket.descriptor(), address, length) == 0 && ::listen(socket.descriptor(), SOMAXCONN) == 0)
      return socket;
    if (errno == EADDRINUSE)
      fail(
          "rank 0 cannot listen on port {}: another program does, or another rank 0 (MASTER_PORT chooses "
          "another port)",
          port);
  }
  fail("cannot listen on port {}: {}", port, last_error());
}

int port_of(const Socket& listener) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  ::getsockname(listener.descriptor(), reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

/// Returns the other side's address as numbers.
std::string host_of(const Socket& socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  char text[NI_MAXHOST] = {};
  ::getpeername(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), &length);
  ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  const std::string host = text, mapped = "::ffff:";
  return host.starts_with(mapped) ? host.substr(mapped.size()) : host;  // IPv4 in the clothes of IPv6
}

/// Tries every address of the host once. Returns a closed socket if none answers.
Socket connect_once(const std::string& host, int port, Clock::time_point deadline, std::string& why) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      status != 0) {
    why = ::gai_strerror(status);
    return Socket();
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Socket socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) continue;
    set_up(socket);
    int error = ::connect(socket.descriptor(), one->ai_addr, one->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      constexpr std::chrono::seconds kPatience{5};
      socklen_t length = sizeof error;
      error = ETIMEDOUT;
      if (wait_for(socket, POLLOUT, std::min(deadline, Clock::now() + kPatience)))
        ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &length);
    }
    if (error == 0) return socket;
    why = std::strerror(error);
  }
  return Socket();
}

Socket connect_to(int rank, const std::string& host, int port, const RankPlace& own,
                  Clock::time_point deadline) {
  constexpr std::chrono::milliseconds kPause{100};
  std::string why = "no time to try";
  while (Clock::now() < deadline) {
    Socket socket = connect_once(host, port, deadline, why);
    if (socket.is_open()) return socket;
    std::this_thread::sleep_for(kPause);
  }
  fail("rank {} cannot reach rank {} at {}:{}: {}{}", own.rank, rank, host, port, why,
       rank == 0 ? " (MASTER_ADDR and MASTER_PORT say where rank 0 is)" : "");
}

class Assembly {
 public:
  Assembly(const RankPlace& place, CollectiveTimeout timeout)
      : place_(place),
        timeout_(timeout),
        deadline_(Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout)),
        peers_(size_t(place.size)) {}

  std::vector<Socket> meet() {
    place_.rank == 0 ? receive_all() : join();
    for (const Socket& peer : peers_)
      if (peer.is_open()) set_up(peer);
    return std::move(peers_);
  }

 private:
  /// Rank 0: everybody comes here.
  void receive_all() {
    const Socket listener = listen_at(place_.port);
    std::vector<Address> addresses(peers_.size());
    accept_from(listener, 1, [&](const Socket& socket, const Hello& hello) {
      Address& address = addresses[size_t(hello.rank)];
      std::strncpy(address.host, host_of(socket).c_str(), sizeof address.host - 1);
      address.port = hello.port;
    });
    for (size_t rank = 1; rank < peers_.size(); ++rank) {
      const Welcome welcome;
      TAPER_CHECK(
          write_all(peers_[rank], &welcome, sizeof welcome, deadline_) &&
              write_all(peers_[rank], addresses.data(), addresses.size() * sizeof(Address), deadline_),
          "rank {} has ended while the ranks met", rank);
    }
  }

  /// Another rank: goes to rank 0, then to all before it, and waits for those after it.
  void join() {
    peers_[0] = connect_to(0, place_.address, place_.port, place_, deadline_);
    const Socket listener = listen_at(0);
    const Hello hello = {.rank = place_.rank, .size = place_.size, .port = port_of(listener)};
    Welcome welcome;
    std::vector<Address> addresses(peers_.size());
    write_all(peers_[0], &hello, sizeof hello, deadline_);
    Reading answer = read_all(peers_[0], &welcome, sizeof welcome, deadline_);
    if (answer == Reading::kDone && welcome.refusal[0] == 0)
      answer = read_all(peers_[0], addresses.data(), addresses.size() * sizeof(Address), deadline_);
    TAPER_CHECK(welcome.refusal[0] == 0, "{}", welcome.refusal);
    TAPER_CHECK(answer != Reading::kClosed, "rank 0 at {}:{} has ended while the ranks met", place_.address,
                place_.port);
    TAPER_CHECK(answer == Reading::kDone,
                "rank 0 at {}:{} has not let rank {} in within {:g} s: it waits for other ranks",
                place_.address, place_.port, place_.rank, timeout_.count());
    for (int rank = 1; rank < place_.rank; ++rank) {
      const Address& address = addresses[size_t(rank)];
      Socket& peer = peers_[size_t(rank)];
      peer = connect_to(rank, address.host, address.port, place_, deadline_);
      TAPER_CHECK(write_all(peer, &hello, sizeof hello, deadline_), "rank {} has ended while the ranks met",
                  rank);
    }
    accept_from(listener, place_.rank + 1, [](const Socket&, const Hello&) {});
  }

  /// Waits for all ranks from `first` on. Strangers are turned away; those who say nothing keep nobody waiting.
  template <class Greet>
  void accept_from(const Socket& listener, int first, Greet greet) {
    constexpr std::chrono::seconds kSilence{10};
    const Clock::time_point begin = Clock::now();
    bool has_told = false;
    std::list<Socket> silent;  // have connected, and said nothing yet
    while (!absent(first).empty()) {
      if (Clock::now() > deadline_)
        refuse_all(fmt::format("{} of {} did not come to {} within {:g} s", name_ranks(absent(first)),
                               place_.size, where(), timeout_.count()));
      if (!has_told && Clock::now() > begin + kSilence) {
        warn(fmt::format("rank {} waits for {} of {}, which {} not come to {} yet", place_.rank,
                         name_ranks(absent(first)), place_.size, absent(first).size() == 1 ? "has" : "have",
                         where()));
        has_told = true;
      }
      std::vector<pollfd> sockets = {{.fd = listener.descriptor(), .events = POLLIN, .revents = 0}};
      for (const Socket& one : silent)
        sockets.push_back({.fd = one.descriptor(), .events = POLLIN, .revents = 0});
      constexpr int kPauseMs = 100;
      ::poll(sockets.data(), sockets.size(), kPauseMs);
      size_t place = 1;
      for (auto one = silent.begin(); one != silent.end(); ++place) {
        if (sockets[place].revents == 0) {
          ++one;
          continue;
        }
        hear(*one, first, greet);
        one = silent.erase(one);
      }
      if (sockets[0].revents == 0) continue;
      Socket socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket.is_open()) silent.push_back(std::move(socket));
    }
  }

  /// Somebody who has connected says who he is.
  template <class Greet>
  void hear(Socket& socket, int first, Greet greet) {
    constexpr std::chrono::milliseconds kPatience{200};  // a Hello comes in one piece
    Hello hello;
    if (read_all(socket, &hello, sizeof hello, Clock::now() + kPatience) != Reading::kDone ||
        hello.magic != kMagic)
      return;
    if (const std::string refusal = why_not(hello, first); !refusal.empty()) {
      refuse(socket, refusal);
      refuse_all(refusal);
    }
    greet(socket, hello);
    peers_[size_t(hello.rank)] = std::move(socket);
  }

  /// Ends the meeting. All who have come hear why.
  [[noreturn]] void refuse_all(const std::string& why) {
    for (const Socket& peer : peers_)
      if (place_.rank == 0 && peer.is_open()) refuse(peer, why);
    fail("{}", why);
  }

  static void refuse(const Socket& socket, const std::string& why) {
    Welcome answer;
    std::strncpy(answer.refusal, why.c_str(), sizeof answer.refusal - 1);
    constexpr std::chrono::seconds kPatience{1};
    write_all(socket, &answer, sizeof answer, Clock::now() + kPatience);
  }

  std::vector<int> absent(int first) const {
    std::vector<int> ranks;
    for (int rank = first; rank < place_.size; ++rank)
      if (!peers_[size_t(rank)].is_open()) ranks.push_back(rank);
    return ranks;
  }

  static std::string name_ranks(const std::vector<int>& ranks) {
    return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
  }

  /// Where this rank listens.
  std::string where() const {
    return place_.rank == 0 ? fmt::format("{}:{}", place_.address, place_.port)
                            : fmt::format("rank {}", place_.rank);
  }

  std::string why_not(const Hello& hello, int first) const {
    if (hello.size != place_.size)
      return fmt::format("rank {} says WORLD_SIZE={}, and rank {} says {}", hello.rank, hello.size,
                         place_.rank, place_.size);
    if (hello.rank < 0 || hello.rank >= place_.size)
      return fmt::format("a process calls itself rank {} of {}", hello.rank, place_.size);
    if (hello.rank < first || peers_[size_t(hello.rank)].is_open())
      return fmt::format("two processes call themselves rank {}: each needs a RANK of its own", hello.rank);
    return {};
  }

  const RankPlace& place_;
  CollectiveTimeout timeout_;
  Clock::time_point deadline_;
  std::vector<Socket> peers_;
};

}  // namespace

std::vector<Socket> meet(const RankPlace& place, CollectiveTimeout timeout) {
  return Assembly(place, timeout).meet();
}

}  // namespace taper::detail
