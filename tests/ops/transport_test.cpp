// What collectives are made of: messages between threads and over TCP, the ring, and ranks that fail in the middle of it.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "file_bytes.h"
#include "ranks.h"
#include "taper/ops/collective/host_collectives.h"
#include "taper/ops/collective/tcp_group.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

using namespace taper;

namespace {

/// Returns a port of this host that nobody listens at.
int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  socklen_t length = sizeof address;
  REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), length) == 0);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(socket);
  return ntohs(address.sin_port);
}

RankPlace tcp_place(int rank, int size, int port) {
  return {.rank = rank, .size = size, .meeting = Meeting::kTcp, .address = "127.0.0.1", .port = port};
}

std::vector<std::string> in_tcp_ranks(int ranks, const std::function<void(ProcessGroup&)>& body,
                                      CollectiveTimeout timeout = CollectiveTimeout(60)) {
  const int port = free_port();
  return in_threads(ranks, [&](int rank) {
    const auto group = make_tcp_group(tcp_place(rank, ranks, port), timeout);
    body(*group);
  });
}

/// Every kind of collective on `count` elements (a rank's, of those with parts).
void try_all(ProcessGroup& group, int64_t count, DType dtype) {
  const int size = group.size(), rank = group.rank();
  const auto numbers = [&](int of_rank, int64_t n) {
    std::vector<double> values(static_cast<size_t>(n));
    for (size_t i = 0; i < values.size(); ++i) values[i] = double((int64_t(i) * 7 + of_rank * 3) % 11);
    return values;
  };
  const auto tensor = [&](const std::vector<double>& values) {
    return ops::cast(from_vector(values), dtype);
  };
  const auto sums = [&](int64_t n) {
    std::vector<double> total(static_cast<size_t>(n));
    for (int other = 0; other < size; ++other) {
      const std::vector<double> theirs = numbers(other, n);
      for (size_t i = 0; i < total.size(); ++i) total[i] += theirs[i];
    }
    return total;
  };
  const std::string what = fmt::format("{} {} on {} ranks: ", count, dtype, size);
  const Tensor x = tensor(numbers(rank, count));
  group.all_reduce(x).wait();
  expect(ops::to_vector<double>(x) == sums(count), what + "all-reduce");
  const Tensor y = tensor(numbers(rank, count));
  group.broadcast(y, size - 1).wait();
  expect(ops::to_vector<double>(y) == numbers(size - 1, count), what + "broadcast");
  const Tensor parts = tensor(numbers(rank, count * size)).reshape({size, count});
  group.reduce_scatter(parts).wait();
  const std::vector<double> all = sums(count * size);
  const auto begin = all.begin() + count * rank;
  expect(ops::to_vector<double>(parts.select(0, rank)) == std::vector<double>(begin, begin + count),
         what + "reduce-scatter");
  const Tensor rows = ops::full({size, count}, -1, {.dtype = dtype});
  ops::copy_(rows.select(0, rank), tensor(numbers(rank, count)));
  group.all_gather(rows).wait();
  for (int other = 0; other < size; ++other)
    expect(ops::to_vector<double>(rows.select(0, other)) == numbers(other, count), what + "all-gather");
}

/// Passes messages on, and misbehaves after `good` of its data messages: from then on nothing comes from this rank.
class FaultyTransport final : public Transport {
 public:
  enum class Fault { kHangs, kIsLost };
  FaultyTransport(std::unique_ptr<Transport> real, Fault fault, int good)
      : real_(std::move(real)), fault_(fault), good_(good) {}

  int rank() const override { return real_->rank(); }
  int size() const override { return real_->size(); }
  const std::string& host() const override { return real_->host(); }
  Transfer send(int to, Channel channel, const void* data, size_t bytes) override {
    if (is_gone_ || (channel == Channel::kData && good_-- == 0)) misbehave();
    return real_->send(to, channel, data, bytes);
  }
  Transfer receive(int from, Channel channel, void* data, size_t bytes) override {
    return real_->receive(from, channel, data, bytes);
  }
  bool done(Transfer transfer) override { return real_->done(transfer); }
  void rest() override { real_->rest(); }
  void leave() noexcept override { real_->leave(); }
  [[noreturn]] void abort(int exit_code) noexcept override {
    real_->abort(exit_code);
    std::abort();
  }

 private:
  void misbehave() {
    if (std::exchange(is_gone_, true)) throw RankLostError(0, "this rank is out of the world");
    if (fault_ == Fault::kIsLost) fail("this rank's process is gone");
    std::this_thread::sleep_for(std::chrono::seconds(7));  // longer than others wait for signs of life
    fail("this rank's process was stopped");
  }

  std::unique_ptr<Transport> real_;
  Fault fault_;
  int good_;
  bool is_gone_ = false;
};

}  // namespace

TEST_CASE("collectives are right for any number of ranks and elements, between threads and over TCP") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    const auto body = [](ProcessGroup& group) {
      for (const DType dtype : {kFloat32, kFloat64, kInt64, kFloat16, kBFloat16})
        for (const int64_t count : {0, 1, 3, 1000, 65537}) try_all(group, count, dtype);
    };
    CAPTURE(ranks);
    CHECK(in_ranks(ranks, body) == std::vector<std::string>(size_t(ranks)));
    CHECK(in_tcp_ranks(ranks, body) == std::vector<std::string>(size_t(ranks)));
  }
}

TEST_CASE("many pieces are on their way at once") {
  CHECK(in_tcp_ranks(3, [](ProcessGroup& group) { try_all(group, 3'000'001, kFloat32); }) ==
        std::vector<std::string>(3));
}

TEST_CASE("the sum of floats has the same bits on all ranks and in every run") {
  std::vector<std::vector<float>> results(8);
  for (size_t run = 0; run < 2; ++run) {
    const auto errors = in_ranks(4, [&](ProcessGroup& group) {
      std::mt19937 random(static_cast<unsigned>(group.rank()));
      std::vector<float> values(100'000);
      for (float& value : values) value = std::normal_distribution<float>()(random);
      const Tensor x = from_vector(values);
      group.all_reduce(x, ReduceOp::kMean).wait();
      results[run * 4 + size_t(group.rank())] = ops::to_vector<float>(x);
    });
    CHECK(errors == std::vector<std::string>(4));
  }
  for (const std::vector<float>& result : results) CHECK(result == results[0]);
}

TEST_CASE("half types are added in f32 and rounded once") {
  const auto errors = in_ranks(4, [](ProcessGroup& group) {
    // 1 + 3 / 512 needs more bits than bf16 has; each rank alone would be lost in rounding on a ring.
    const Tensor x = ops::full({5}, group.rank() == 0 ? 1.0 : 1.0 / 512, {.dtype = kBFloat16});
    group.all_reduce(x).wait();
    expect(ops::to_vector<double>(x) == std::vector<double>(5, 1.0078125),
           "sum, rounded to the nearest bf16");
    const Tensor big = ops::full({5}, 60000, {.dtype = kFloat16});
    group.all_reduce(big, ReduceOp::kMean).wait();
    expect(ops::to_vector<double>(big) == std::vector<double>(5, 60000), "mean, whose sum f16 lacks");
  });
  CHECK(errors == std::vector<std::string>(4));
}

TEST_CASE("a NaN on one rank is the largest on all") {
  const auto errors = in_ranks(3, [](ProcessGroup& group) {
    const Tensor x = from_vector<float>({group.rank() == 1 ? NAN : 1.0F});
    group.all_reduce(x, ReduceOp::kMax).wait();
    expect(std::isnan(x.item()), "NaN");
  });
  CHECK(errors == std::vector<std::string>(3));
}

TEST_CASE("a rank that hangs or goes in the middle of a collective is named on all others") {
  using Fault = FaultyTransport::Fault;
  for (const Fault fault : {Fault::kHangs, Fault::kIsLost}) {
    auto transports = make_local_transports(3);
    transports[2] = std::make_unique<FaultyTransport>(std::move(transports[2]), fault, 2);
    const TemporaryFolder folder;
    const auto errors = in_threads(3, [&](int rank) {
      ProcessGroup group(std::move(transports[size_t(rank)]), CollectiveTimeout(0.3));
      group.record_flight_to(folder.path());
      group.all_reduce(ops::full({1'000'000}, 1), ReduceOp::kSum, "gradients 4").wait();
    });
    for (size_t rank = 0; rank < 2; ++rank)
      CHECK(errors[rank] ==
            fmt::format("rank 2 on this host does not answer: all-reduce 1 of 1000000 f32 (gradients 4) "
                        "came to a stop (its last collectives: {}/collectives-rank-{}.tsv)",
                        folder.path(), rank));
    CHECK_THAT(read_bytes(folder / "collectives-rank-0.tsv"),
               Catch::Contains("# rank 0 on this host failed in collective 1: rank 2 on this host") &&
                   Catch::Contains("\n1\tall-reduce\t1000000\tf32\tgradients 4\t") &&
                   Catch::EndsWith("\t-\n"));
  }
}

TEST_CASE("over TCP a rank that ends is named at once") {
  const auto begin = std::chrono::steady_clock::now();
  const auto errors = in_tcp_ranks(3, [](ProcessGroup& group) {
    const Tensor x = ops::zeros({1000});
    group.all_reduce(x).wait();
    if (group.rank() == 1) return;
    group.all_reduce(x).wait();
  });
  CHECK_THAT(errors[0], Catch::StartsWith("rank 1 on ") && Catch::Contains("has ended: it did not come to"));
  CHECK(errors[2] == errors[0]);
  CHECK(errors[1].empty());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
}

TEST_CASE("over TCP ranks that cannot meet say why") {
  const int port = free_port();
  const CollectiveTimeout soon(0.5);
  const std::string alone = error_of([&] { make_tcp_group(tcp_place(0, 3, port), soon); });
  CHECK(alone == fmt::format("ranks 1, 2 of 3 did not come to 127.0.0.1:{} within 0.5 s", port));
  const std::string lost = error_of([&] { make_tcp_group(tcp_place(1, 3, port), soon); });
  CHECK(lost == fmt::format("rank 1 cannot reach rank 0 at 127.0.0.1:{}: Connection refused (MASTER_ADDR and "
                            "MASTER_PORT say where rank 0 is)",
                            port));
  const auto sizes = in_threads(
      2, [&](int rank) { make_tcp_group(tcp_place(rank, rank == 0 ? 2 : 3, port), CollectiveTimeout(20)); });
  CHECK(sizes[0] == "rank 1 says WORLD_SIZE=3, and rank 0 says 2");
  CHECK(sizes[1] == sizes[0]);
  const auto twins = in_threads(
      3, [&](int rank) { make_tcp_group(tcp_place(std::min(rank, 1), 3, port), CollectiveTimeout(20)); });
  for (const std::string& error : twins)
    CHECK(error == "two processes call themselves rank 1: each needs a RANK of its own");
}

TEST_CASE("strangers who call at rank 0's port are turned away") {
  const int port = free_port();
  const auto errors = in_threads(3, [&](int rank) {
    if (rank < 2) {
      const auto group = make_tcp_group(tcp_place(rank, 2, port), CollectiveTimeout(30));
      return group->barrier();
    }
    for (int call = 0; call < 20; ++call) {
      const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address = {};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(uint16_t(port));
      if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
        ::send(socket, "GET / HTTP/1.1\r\nHost: somebody who reads more than he writes\r\n\r\n", 64,
               MSG_NOSIGNAL);
      ::close(socket);
    }
  });
  CHECK(errors == std::vector<std::string>(3));
}

TEST_CASE("strangers who say nothing keep no rank waiting") {
  const int port = free_port();
  std::vector<int> silent;
  const auto errors = in_threads(2, [&](int rank) {
    if (rank == 1) {
      sockaddr_in address = {};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(uint16_t(port));
      while (silent.size() < 20) {
        const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
        ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0
            ? silent.push_back(socket)
            : void(::close(socket));
      }
    }
    make_tcp_group(tcp_place(rank, 2, port), CollectiveTimeout(10))->barrier();
  });
  for (const int socket : silent) ::close(socket);
  CHECK(errors == std::vector<std::string>(2));
}

TEST_CASE("a process learns its place from the variables of its launcher") {
  const auto with = [](const std::vector<std::pair<const char*, const char*>>& variables) {
    const std::vector<const char*> all = {"OMPI_COMM_WORLD_SIZE",
                                          "OMPI_COMM_WORLD_RANK",
                                          "PMI_SIZE",
                                          "PMI_RANK",
                                          "PMIX_RANK",
                                          "RANK",
                                          "WORLD_SIZE",
                                          "MASTER_ADDR",
                                          "MASTER_PORT",
                                          "LOCAL_RANK",
                                          "LOCAL_WORLD_SIZE",
                                          "TORCHELASTIC_USE_AGENT_STORE"};
    for (const char* name : all) ::unsetenv(name);
    for (const auto& [name, value] : variables) ::setenv(name, value, 1);
    std::string error;
    std::optional<RankPlace> place;
    error = error_of([&] { place = rank_place(); });
    for (const char* name : all) ::unsetenv(name);
    return std::pair(place, error);
  };
  CHECK_FALSE(with({}).first);
  CHECK_FALSE(with({{"RANK", "1"}}).first);
  const auto torch = with({{"RANK", "5"},
                           {"WORLD_SIZE", "8"},
                           {"LOCAL_RANK", "1"},
                           {"LOCAL_WORLD_SIZE", "4"},
                           {"MASTER_ADDR", "node7"},
                           {"MASTER_PORT", "1234"}})
                         .first;
  REQUIRE(torch);
  CHECK((torch->rank == 5 && torch->size == 8 && torch->local_rank == 1 && torch->local_size == 4));
  CHECK((torch->meeting == Meeting::kTcp && torch->address == "node7" && torch->port == 1234));
  const auto agent = with({{"RANK", "0"},
                           {"WORLD_SIZE", "2"},
                           {"MASTER_ADDR", "a"},
                           {"MASTER_PORT", "1234"},
                           {"TORCHELASTIC_USE_AGENT_STORE", "True"}})
                         .first;
  CHECK(agent->port == 1235);
  CHECK(with({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}).first->port == 29500);
  CHECK_THAT(with({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}).second,
             Catch::StartsWith("RANK=2, WORLD_SIZE=2, MASTER_ADDR=a and MASTER_PORT=nothing name no rank"));
  using Variables = std::vector<std::pair<const char*, const char*>>;
  for (const Variables& wrong :
       {Variables{{"RANK", "0"}, {"WORLD_SIZE", "2"}}, Variables{{"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}},
        Variables{{"RANK", "0x"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}},
        Variables{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", ""}},
        Variables{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "80x"}},
        Variables{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}}})
    CHECK_THAT(with(wrong).second, Catch::Contains("name no rank: RANK must be from 0 to below WORLD_SIZE"));
  CHECK_THAT(with({{"RANK", "one"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}).second,
             Catch::StartsWith("RANK=one"));
  const auto mpi = with({{"OMPI_COMM_WORLD_SIZE", "4"},
                         {"OMPI_COMM_WORLD_RANK", "3"},
                         {"RANK", "1"},
                         {"WORLD_SIZE", "2"},
                         {"MASTER_ADDR", "a"}})
                       .first;
  CHECK((mpi->meeting == Meeting::kMpi && mpi->rank == 3 && mpi->size == 4));
}
