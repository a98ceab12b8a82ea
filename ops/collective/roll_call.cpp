#include "taper/ops/collective/roll_call.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

namespace taper {
namespace {

/// Other ranks wait longer than rank 0, whose verdict says more than "rank 0 does not answer"; and for so long rank 0
/// waits for signs of life.
constexpr CollectiveTimeout kGrace{5};

RollCall::Clock::duration duration_of(CollectiveTimeout seconds) {
  return std::chrono::duration_cast<RollCall::Clock::duration>(seconds);
}

template <size_t n>
void put(char (&field)[n], const std::string& text) {
  std::strncpy(field, text.c_str(), n - 1);
  field[n - 1] = 0;
}

enum class WordKind : uint8_t { kCall, kAlarm, kAlive };
enum class VerdictKind : uint8_t { kGoOn, kAreYouAlive, kFailed };

}  // namespace

struct RollCall::Word {
  WordKind kind = WordKind::kCall;
  CollectiveKind call_kind = {};
  ReduceOp op = {};
  DType dtype = {};
  int root = 0;
  int64_t count = 0, number = 0;
  char label[64] = {};
  char host[64] = {};
  char alarm[320] = {};

  Word() = default;
  Word(WordKind the_kind, const std::string& the_host) : kind(the_kind) { put(host, the_host); }
  /// Long labels are cut.
  Word(const CollectiveCall& call, const std::string& the_host) : Word(WordKind::kCall, the_host) {
    call_kind = call.kind;
    op = call.op;
    dtype = call.dtype;
    root = call.root;
    count = call.count;
    number = call.number;
    put(label, call.label);
  }

  CollectiveCall call() const {
    return {.kind = call_kind,
            .op = op,
            .root = root,
            .dtype = dtype,
            .count = count,
            .label = label,
            .number = number};
  }
};

struct RollCall::Verdict {
  VerdictKind kind = VerdictKind::kGoOn;
  char text[500] = {};
};

struct RollCall::Mail {
  bool is_expected = false, has_come = false, is_lost = false;
  Transport::Transfer transfer = 0;
  Word word;        ///< on rank 0
  Verdict verdict;  ///< on other ranks
};

RollCall::RollCall(Transport& transport, CollectiveTimeout timeout)
    : transport_(transport), timeout_(timeout), hosts_(size_t(transport.size()), "an unknown host") {
  for (int rank = 0; rank < transport.size(); ++rank) mail_.push_back(std::make_unique<Mail>());
}

RollCall::~RollCall() = default;

void RollCall::fail_with(const std::string& text) {
  failure_ = text;
  fail<CollectiveError>("{}", text);
}

void RollCall::send(int to, std::shared_ptr<void> message, size_t bytes) {
  reap_sent();
  const void* const data = message.get();
  sent_.emplace_back(transport_.send(to, Channel::kControl, data, bytes), std::move(message));
}

void RollCall::reap_sent() {
  while (!sent_.empty()) {
    try {
      if (!transport_.done(sent_.front().first)) return;
    } catch (const RankLostError&) {
      // It is noticed where the rank's own words are missed.
    }
    sent_.pop_front();
  }
}

void RollCall::say(const Word& word) {
  try {
    send(0, std::make_shared<Word>(word), sizeof word);
  } catch (const RankLostError&) {
    // has_mail() notices it, after what rank 0 said before.
  }
}

void RollCall::decide(const Verdict& verdict) {
  for (int rank = 1; rank < transport_.size(); ++rank) {
    if (mail_[size_t(rank)]->is_lost) continue;
    try {
      send(rank, std::make_shared<Verdict>(verdict), sizeof verdict);
    } catch (const RankLostError&) {
      // has_mail() notices it.
    }
  }
}

void RollCall::fail_on_all_ranks(const std::string& text) {
  Verdict verdict = {.kind = VerdictKind::kFailed};
  put(verdict.text, text);
  decide(verdict);
  finish_sending();
  fail_with(text);
}

void RollCall::finish_sending() {
  const Clock::time_point end = Clock::now() + duration_of(kGrace);
  for (reap_sent(); !sent_.empty() && Clock::now() < end; reap_sent()) transport_.rest();
}

bool RollCall::has_mail(int from) {
  Mail& mail = *mail_[size_t(from)];
  if (mail.has_come || mail.is_lost) return mail.has_come;
  try {
    if (!mail.is_expected) {
      void* const to = transport_.rank() == 0 ? static_cast<void*>(&mail.word) : &mail.verdict;
      mail.transfer = transport_.receive(from, Channel::kControl, to,
                                         transport_.rank() == 0 ? sizeof mail.word : sizeof mail.verdict);
      mail.is_expected = true;
    }
    if (!transport_.done(mail.transfer)) return false;
  } catch (const RankLostError&) {
    mail.is_lost = true;
    return false;
  }
  mail.is_expected = false;
  mail.has_come = true;
  if (transport_.rank() == 0) hosts_[size_t(from)] = mail.word.host;
  return true;
}

void RollCall::hold(const CollectiveCall& call) {
  if (!failure_.empty()) fail_with(failure_);
  if (transport_.size() == 1) return;
  const Clock::time_point deadline = Clock::now() + duration_of(timeout_);
  transport_.rank() == 0 ? judge(call, deadline) : answer(call, deadline);
  reap_sent();
}

void RollCall::judge(const CollectiveCall& call, Clock::time_point deadline) {
  const CollectiveCall wanted = Word(call, transport_.host()).call();
  std::string text;
  for (int rank = 1; rank < transport_.size() && text.empty(); ++rank) {
    Mail& mail = *mail_[size_t(rank)];
    for (int asked = 0; !has_mail(rank) && !mail.is_lost && Clock::now() < deadline; ++asked)
      if (constexpr int kPatience = 100; asked > kPatience) {
        transport_.rest();
        listen();
      }
    const std::string& host = hosts_[size_t(rank)];
    if (mail.is_lost) {
      text = fmt::format("rank {} on {} has ended: it did not come to {}", rank, host, call.describe());
    } else if (!mail.has_come) {
      text = fmt::format("rank {} on {} did not come to {} within {:g} s", rank, host, call.describe(),
                         timeout_.count());
    } else if (mail.word.kind == WordKind::kAlarm) {
      investigate(mail.word.alarm);
    } else if (mail.word.call() != wanted) {
      text = fmt::format("rank {} on {} calls {} while rank 0 calls {}", rank, host,
                         mail.word.call().describe(), call.describe());
    }
  }
  if (!text.empty()) fail_on_all_ranks(text);
  for (auto& mail : mail_) mail->has_come = false;
  decide({.kind = VerdictKind::kGoOn});
}

void RollCall::answer(const CollectiveCall& call, Clock::time_point deadline) {
  say(Word(call, transport_.host()));
  for (int asked = 0; !hear_verdict(); ++asked) {
    if (mail_[0]->is_lost) fail_with(fmt::format("rank 0 has ended: it did not come to {}", call.describe()));
    if (Clock::now() > deadline + duration_of(kGrace))
      fail_with(fmt::format("rank 0 did not answer to {} within {:g} s", call.describe(),
                            (timeout_ + kGrace).count()));
    if (constexpr int kPatience = 100; asked > kPatience) transport_.rest();
  }
}

bool RollCall::hear_verdict() {
  if (!has_mail(0)) return false;
  mail_[0]->has_come = false;
  const Verdict& verdict = mail_[0]->verdict;
  if (verdict.kind == VerdictKind::kFailed) fail_with(verdict.text);
  if (verdict.kind == VerdictKind::kGoOn) return true;
  say(Word(WordKind::kAlive, transport_.host()));
  return false;
}

void RollCall::listen() {
  if (!failure_.empty() || transport_.size() == 1) return;
  reap_sent();
  if (transport_.rank() != 0) {
    hear_verdict();
    return;
  }
  for (int rank = 1; rank < transport_.size(); ++rank)
    if (has_mail(rank) && mail_[size_t(rank)]->word.kind == WordKind::kAlarm)
      investigate(mail_[size_t(rank)]->word.alarm);
}

void RollCall::raise_alarm(const std::string& what) {
  if (transport_.rank() == 0) investigate(what);
  Word alarm(WordKind::kAlarm, transport_.host());
  put(alarm.alarm, what);
  say(alarm);
  const Clock::time_point deadline = Clock::now() + duration_of(2 * kGrace);
  while (!mail_[0]->is_lost && Clock::now() < deadline) {
    hear_verdict();
    transport_.rest();
  }
  fail_with(what + (mail_[0]->is_lost ? ": rank 0 has ended" : ": rank 0 does not answer"));
}

void RollCall::investigate(const std::string& what) {
  std::vector<bool> lives(mail_.size());
  lives[0] = true;
  decide({.kind = VerdictKind::kAreYouAlive});
  const Clock::time_point deadline = Clock::now() + duration_of(kGrace);
  for (bool all = false; !all && Clock::now() < deadline; transport_.rest()) {
    all = true;
    for (int rank = 1; rank < transport_.size(); ++rank) {
      if (has_mail(rank)) lives[size_t(rank)] = true;
      mail_[size_t(rank)]->has_come = false;
      all = all && (lives[size_t(rank)] || mail_[size_t(rank)]->is_lost);
    }
  }
  std::vector<std::string> missing;
  for (int rank = 1; rank < transport_.size(); ++rank) {
    if (mail_[size_t(rank)]->is_lost)
      missing.push_back(fmt::format("rank {} on {} has ended", rank, hosts_[size_t(rank)]));
    else if (!lives[size_t(rank)])
      missing.push_back(fmt::format("rank {} on {} does not answer", rank, hosts_[size_t(rank)]));
  }
  fail_on_all_ranks(missing.empty() ? what : fmt::format("{}: {}", fmt::join(missing, ", "), what));
}

}  // namespace taper
