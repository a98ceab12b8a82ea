#include "taper/ops/collective/flight_recorder.h"

#include <fmt/format.h>

#include "taper/core/files/atomic_file.h"

namespace taper {

void FlightRecorder::write_to(const std::string& folder) {
  const std::lock_guard lock(mutex_);
  folder_ = folder;
}

void FlightRecorder::called(const CollectiveCall& call) {
  constexpr size_t kKept = 256;
  const std::lock_guard lock(mutex_);
  records_.push_back({.call = call, .called = Clock::now()});
  if (records_.size() > kKept) records_.pop_front();
}

void FlightRecorder::stamp(int64_t number, Clock::time_point Record::*when) {
  const std::lock_guard lock(mutex_);
  if (records_.empty()) return;
  const int64_t place = number - records_.front().call.number;
  if (place >= 0 && place < int64_t(records_.size())) records_[size_t(place)].*when = Clock::now();
}

std::string FlightRecorder::failed(int64_t number, const std::string& error, int rank,
                                   const std::string& host) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    if (folder_.empty()) return error;
    path = fmt::format("{}/collectives-rank-{}.tsv", folder_, rank);
  }
  try {
    write_file_atomically(path, fmt::format("# rank {} on {} failed in collective {}: {}\n{}", rank, host,
                                            number, error, table()));
  } catch (const FileError& not_written) {
    return fmt::format("{} (the record of collectives is lost: {})", error, not_written.what());
  }
  return fmt::format("{} (its last collectives: {})", error, path);
}

std::string FlightRecorder::table() const {
  const std::lock_guard lock(mutex_);
  std::string text = "number\tname\telements\tdtype\tlabel\tcalled\tbegan\tended\n";
  const auto time = [](Clock::time_point point) {
    return point == Clock::time_point()
               ? std::string("-")
               : fmt::format("{:.6f}", std::chrono::duration<double>(point.time_since_epoch()).count());
  };
  for (const Record& one : records_)
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", one.call.number, one.call.name(), one.call.count,
                        one.call.dtype, one.call.label, time(one.called), time(one.began), time(one.ended));
  return text;
}

}  // namespace taper
