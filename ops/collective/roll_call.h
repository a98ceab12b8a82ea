#pragma once
// RollCall: before each collective rank 0 calls the roll. Every rank sends what it is about to call, and gets rank 0's
// verdict. So nobody begins a collective that cannot end, and all ranks hear which one is missing or calls another.
//
// If a collective stops in the middle, the rank that notices raises the alarm. Rank 0 asks all ranks whether they are
// alive, and names those that do not answer. Two short messages a rank for each collective are the price.

#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "taper/ops/collective/transport.h"

namespace taper {

class RollCall {
 public:
  using Clock = std::chrono::steady_clock;

  RollCall(Transport& transport, CollectiveTimeout timeout);
  ~RollCall();

  /// Returns when all ranks have called the same. Throws CollectiveError on all ranks if they do not, or if one does not
  /// come in time; the message names it.
  void hold(const CollectiveCall& call);
  /// Hears whether another rank has raised the alarm; throws CollectiveError, which says who failed, if so. To be called
  /// in a collective that waits, and between collectives.
  void listen();
  /// Finds out which rank does not answer, tells all, and throws CollectiveError. what: "all-reduce 7 of ... came to a
  /// stop".
  [[noreturn]] void raise_alarm(const std::string& what);
  bool has_failed() const { return !failure_.empty(); }
  /// Waits, not for ever, until what this rank has said is on its way.
  void finish_sending();

 private:
  struct Word;     // of a rank to rank 0
  struct Verdict;  // of rank 0 to a rank
  struct Mail;     // what a rank has sent or is to receive

  [[noreturn]] void fail_with(const std::string& text);
  [[noreturn]] void fail_on_all_ranks(const std::string& text);
  void send(int to, std::shared_ptr<void> message, size_t bytes);
  /// Forgets the messages that are on their way.
  void reap_sent();
  void say(const Word& word);
  void decide(const Verdict& verdict);
  /// Returns whether a message of this rank has come. A rank that is lost has none.
  bool has_mail(int from);
  void judge(const CollectiveCall& call, Clock::time_point deadline);
  void answer(const CollectiveCall& call, Clock::time_point deadline);
  [[noreturn]] void investigate(const std::string& what);
  /// On other ranks than 0: acts on what rank 0 says. Returns true for "go on".
  bool hear_verdict();

  Transport& transport_;
  CollectiveTimeout timeout_;
  std::vector<std::unique_ptr<Mail>> mail_;  ///< by rank; other ranks than 0 have rank 0's alone
  std::vector<std::string> hosts_;           ///< by rank, as heard in earlier roll calls
  std::deque<std::pair<Transport::Transfer, std::shared_ptr<void>>> sent_;
  std::string failure_;
};

}  // namespace taper
