#pragma once
// FlightRecorder: what a rank's last collectives were and how far they came. When a job fails, the records of all ranks
// laid side by side show which rank was behind. PyTorch's counterpart: c10d/FlightRecorder.hpp.

#include <chrono>
#include <deque>
#include <mutex>
#include <string>

#include "taper/ops/collective/collective_call.h"

namespace taper {

/// Threads may share it.
class FlightRecorder {
 public:
  /// Writes to FOLDER/collectives-rank-RANK.tsv when a collective fails. Empty: writes nothing.
  void write_to(const std::string& folder);

  void called(const CollectiveCall& call);
  void began(int64_t number) { stamp(number, &Record::began); }
  void ended(int64_t number) { stamp(number, &Record::ended); }
  /// Writes the record, if it is to be written. Returns the error's text with the file's name.
  std::string failed(int64_t number, const std::string& error, int rank, const std::string& host);

  /// Returns a line for each collective, oldest first: number, name, elements, dtype, label, and when it was called,
  /// began and ended, in seconds since 1970; "-" for what has not happened. Fields are separated by tabs.
  std::string table() const;

 private:
  using Clock = std::chrono::system_clock;
  struct Record {
    CollectiveCall call;
    Clock::time_point called = {}, began = {}, ended = {};
  };
  void stamp(int64_t number, Clock::time_point Record::*when);

  mutable std::mutex mutex_;
  std::deque<Record> records_;
  std::string folder_;
};

}  // namespace taper
