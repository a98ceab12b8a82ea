#include "taper/nn/report/tensorboard/event_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <chrono>
#include <filesystem>

#include "taper/core/base/error.h"

namespace taper {
namespace {

// Fields of event.proto.
enum EventField {
  kEventWallTime = 1,
  kEventStep = 2,
  kEventFileVersion = 3,
  kEventGraphDef = 4,
  kEventSummary = 5,
  kEventSessionLog = 7
};
constexpr int kSessionStatus = 1, kSessionStart = 1;

ProtoMessage event_at(int64_t step) {
  return ProtoMessage().number(kEventWallTime, wall_time()).integer(kEventStep, step);
}

/// Returns the machine's name, with "_" for what a file name had better not hold.
std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  std::string host = name;
  for (char& c : host)
    if (std::isalnum(uint8_t(c)) == 0 && c != '-') c = '_';
  return host;
}

std::string new_event_file(const std::string& folder) {
  static std::atomic<int> files = 0;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail<FileError>("{}: the folder cannot be made: {}", folder, error.message());
  for (;;) {
    std::filesystem::path path = folder;
    path /= fmt::format("events.out.tfevents.{:010}.{}.{}.{}", int64_t(wall_time()), host_name(), getpid(),
                        files++);
    if (!std::filesystem::exists(path, error)) return path.string();
  }
}

}  // namespace

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

EventWriter::EventWriter(const std::string& folder) : path_(new_event_file(folder)), file_(path_) {
  // Of version 2 on, TensorBoard heeds begin().
  file_.write(
      ProtoMessage().number(kEventWallTime, wall_time()).text(kEventFileVersion, "brain.Event:2").str());
}

void EventWriter::begin(int64_t step) {
  file_.write(
      event_at(step).message(kEventSessionLog, ProtoMessage().integer(kSessionStatus, kSessionStart)).str());
}

void EventWriter::write(int64_t step, const EventSummary& summary) {
  file_.write(event_at(step).message(kEventSummary, summary.message()).str());
}

void EventWriter::write_graph(const ProtoMessage& graph_def) {
  file_.write(event_at(0).message(kEventGraphDef, graph_def).str());
}

}  // namespace taper
