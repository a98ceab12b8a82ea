#include "taper/ops/collective/host_collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "taper/ops/collective/reduce.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

/// Large enough to hide a message's latency, small enough that a pipeline of them fills soon.
constexpr int64_t kPieceBytes = int64_t(256) << 10;
/// Pieces under way to each side.
constexpr int64_t kInFlight = 4;

/// One collective under way on one rank.
class Passage {
 public:
  Passage(const CollectiveCall& call, char* data, Transport& transport, RollCall& roll_call,
          Clock::time_point deadline)
      : call_(call),
        data_(data),
        transport_(transport),
        roll_call_(roll_call),
        deadline_(deadline),
        rank_(transport.rank()),
        size_(transport.size()),
        width_(int64_t(size_of(call.dtype))) {
    for (int part = 0; part < size_; ++part) pieces_ = std::max(pieces_, ceil_pieces(part_of(part).count()));
  }

  void carry_out() {
    switch (call_.kind) {
      case CollectiveKind::kAllReduce:
        reduce_scatter();
        return all_gather();
      case CollectiveKind::kReduceScatter:
        return reduce_scatter();
      case CollectiveKind::kAllGather:
        return all_gather();
      case CollectiveKind::kBroadcast:
        return broadcast();
    }
  }

 private:
  /// Elements [begin, end) of `data`.
  struct Range {
    int64_t begin = 0, end = 0;
    int64_t count() const { return end - begin; }
  };

  /// The elements that rank `part` reduces or brings.
  Range part_of(int64_t part) const {
    part = (part % size_ + size_) % size_;
    if (call_.kind != CollectiveKind::kAllReduce) return {part * call_.count, (part + 1) * call_.count};
    return {call_.count * part / size_, call_.count * (part + 1) / size_};
  }

  char* at(int64_t element) const { return data_ + element * width_; }

  void reduce_scatter() { is_half(call_.dtype) ? reduce_scatter_half() : reduce_scatter_ring(); }

  /// Step s: the part of rank r - s - 1 goes on to rank r + 1, with what all ranks before have added. After n - 1 steps
  /// a rank has its own.
  void reduce_scatter_ring() {
    std::vector<char> slots(size_t(kInFlight * kPieceBytes));
    go_round([&](int64_t step) { return part_of(rank_ - step - 1); },
             [&](int64_t step) { return part_of(rank_ - step - 2); },
             [&](int64_t number, Range) { return slots.data() + number % kInFlight * kPieceBytes; },
             [&](int64_t number, Range piece) {
               detail::reduce_into(call_.op, call_.dtype, at(piece.begin),
                                   slots.data() + number % kInFlight * kPieceBytes, piece.count());
               const bool is_complete = number >= pieces_ * (size_ - 2);
               if (call_.op == ReduceOp::kMean && is_complete)
                 detail::divide(call_.dtype, at(piece.begin), piece.count(), size_);
             });
  }

  /// Step s: the part of rank r - s goes on to rank r + 1.
  void all_gather() {
    go_round([&](int64_t step) { return part_of(rank_ - step); },
             [&](int64_t step) { return part_of(rank_ - step - 1); },
             [&](int64_t, Range piece) { return at(piece.begin); }, [](int64_t, Range) {});
  }

  /// Every part goes from every rank straight to the one that adds it up, in f32: on a ring it would be rounded at every
  /// rank.
  void reduce_scatter_half() {
    std::vector<float> sum(static_cast<size_t>(piece_elements()));
    std::vector<char> incoming(static_cast<size_t>(kPieceBytes));
    for (int64_t number = 0; number < pieces_; ++number) {
      const Range own = cut(part_of(rank_), number);
      const size_t own_bytes = size_t(own.count() * width_);
      std::ranges::fill(sum, 0.0F);
      detail::reduce_half_into(ReduceOp::kSum, call_.dtype, sum.data(), at(own.begin), own.count());
      for (int distance = 1; distance < size_; ++distance) {
        const int to = (rank_ + distance) % size_, from = (rank_ - distance + size_) % size_;
        const Range theirs = cut(part_of(to), number);
        const auto coming = transport_.receive(from, Channel::kData, incoming.data(), own_bytes);
        const auto going =
            transport_.send(to, Channel::kData, at(theirs.begin), size_t(theirs.count() * width_));
        finish(coming);
        detail::reduce_half_into(call_.op, call_.dtype, sum.data(), incoming.data(), own.count());
        finish(going);
      }
      if (call_.op == ReduceOp::kMean) detail::divide(kFloat32, sum.data(), own.count(), size_);
      detail::narrow(call_.dtype, sum.data(), at(own.begin), own.count());
    }
  }

  /// From the root along the ring, which ends before it.
  void broadcast() {
    const Range all = {0, call_.count};
    const int64_t pieces = ceil_pieces(call_.count);
    const int place = (rank_ - call_.root + size_) % size_;
    const auto piece = [&](int64_t number) { return cut(all, number); };
    Stream stream{.incoming = place == 0 ? 0 : pieces, .outgoing = place == size_ - 1 ? 0 : pieces};
    stream.first_own = place == 0 ? pieces : 0;
    pass(
        stream, piece, piece, [&](int64_t, Range range) { return at(range.begin); }, [](int64_t, Range) {});
  }

  Range cut(Range part, int64_t piece) const {
    const int64_t begin = std::min(part.begin + piece * piece_elements(), part.end);
    return {begin, std::min(begin + piece_elements(), part.end)};
  }
  int64_t piece_elements() const { return kPieceBytes / width_; }
  int64_t ceil_pieces(int64_t elements) const { return (elements + piece_elements() - 1) / piece_elements(); }

  /// Pieces from the rank before and to the rank after. Piece k goes out once piece k - first_own has come in.
  struct Stream {
    int64_t incoming = 0, outgoing = 0;
    int64_t first_own = 0;  ///< pieces that this rank has from the start
  };

  /// n - 1 steps; in each a part goes out and another comes in, which goes out in the next step. All parts are cut into
  /// as many pieces, though some are shorter.
  template <class Out, class In, class Place, class Take>
  void go_round(Out part_going_out, In part_coming_in, Place place, Take take) {
    const int64_t all = pieces_ * (size_ - 1);
    pass(
        {.incoming = all, .outgoing = all, .first_own = pieces_},
        [&](int64_t number) { return cut(part_going_out(number / pieces_), number % pieces_); },
        [&](int64_t number) { return cut(part_coming_in(number / pieces_), number % pieces_); }, place, take);
  }

  /// Passes pieces on: `place` says where one that comes in is put, `take` does what is to be done with it there.
  template <class Out, class In, class Place, class Take>
  void pass(const Stream& stream, Out piece_going_out, In piece_coming_in, Place place, Take take) {
    const int next = (rank_ + 1) % size_, previous = (rank_ + size_ - 1) % size_;
    std::vector<Transport::Transfer> incoming(kInFlight), outgoing(kInFlight);
    int64_t expected = 0, received = 0, sent = 0, gone = 0;
    while (received < stream.incoming || gone < stream.outgoing) {
      bool moved = false;
      for (; expected < stream.incoming && expected < received + kInFlight; ++expected) {
        const Range piece = piece_coming_in(expected);
        incoming[size_t(expected % kInFlight)] = transport_.receive(
            previous, Channel::kData, place(expected, piece), size_t(piece.count() * width_));
      }
      for (; sent < stream.outgoing && sent < gone + kInFlight && sent < received + stream.first_own;
           ++sent) {
        const Range piece = piece_going_out(sent);
        outgoing[size_t(sent % kInFlight)] =
            transport_.send(next, Channel::kData, at(piece.begin), size_t(piece.count() * width_));
      }
      if (received < expected && transport_.done(incoming[size_t(received % kInFlight)])) {
        take(received, piece_coming_in(received));
        ++received;
        moved = true;
      }
      if (gone < sent && transport_.done(outgoing[size_t(gone % kInFlight)])) {
        ++gone;
        moved = true;
      }
      wait_a_little(moved);
    }
  }

  void finish(Transport::Transfer transfer) {
    while (!transport_.done(transfer)) wait_a_little(false);
    wait_a_little(true);
  }

  /// Asks again at once for a while, because most transports move bytes only while they are asked.
  void wait_a_little(bool moved) {
    constexpr std::chrono::milliseconds kSpinning{20};
    constexpr int kListenEvery = 64;
    const Clock::time_point now = Clock::now();
    if (moved) last_move_ = now;
    if (moved) return;
    if (now - last_move_ < kSpinning) return std::this_thread::yield();
    transport_.rest();
    if (++rests_ % kListenEvery != 0) return;
    roll_call_.listen();
    if (now >= deadline_) roll_call_.raise_alarm(call_.describe() + " came to a stop");
  }

  const CollectiveCall& call_;
  char* data_;
  Transport& transport_;
  RollCall& roll_call_;
  Clock::time_point deadline_;
  int rank_, size_;
  int64_t width_;
  int64_t pieces_ = 0;  ///< of the longest part
  Clock::time_point last_move_ = Clock::now();
  int64_t rests_ = 0;
};

}  // namespace

HostCollectives::~HostCollectives() {
  if (roll_call_.has_failed()) return;
  roll_call_.finish_sending();
  transport_->leave();
}

void HostCollectives::run(const CollectiveCall& call, void* data) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout_);
  roll_call_.hold(call);
  if (size() == 1) return;
  try {
    Passage(call, static_cast<char*>(data), *transport_, roll_call_, deadline).carry_out();
  } catch (const RankLostError&) {
    roll_call_.raise_alarm(call.describe() + " came to a stop");
  }
}

void HostCollectives::abort(int exit_code) noexcept {
  transport_->abort(exit_code);
  std::abort();  // not reached: it tells GCC that a virtual function does not return
}

}  // namespace taper
