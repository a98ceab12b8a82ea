#pragma once
// EventWriter: a file of events that TensorBoard reads while it is being written. PyTorch's counterpart:
// torch/utils/tensorboard/writer.py. The message: tensorflow/core/util/event.proto.
//
//   EventWriter writer("runs/first");
//   writer.begin(1);
//   writer.write(1, EventSummary().scalar("train/loss", 2.3));

#include <cstdint>
#include <string>

#include "taper/nn/report/tensorboard/event_summary.h"
#include "taper/nn/report/tensorboard/record_file.h"

namespace taper {

class EventWriter {
 public:
  /// Makes `folder`, if there is none, and a file in it that no other writer has:
  /// events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER. Throws FileError.
  explicit EventWriter(const std::string& folder);

  /// Says that a run begins, or goes on, with step `step`. TensorBoard forgets what earlier files of the folder
  /// have from that step on: steps that a resumed run does again, or another run's.
  void begin(int64_t step);
  /// Every event is in the file when the call returns. Throws FileError if the disk is full.
  void write(int64_t step, const EventSummary& summary);
  /// Shows a GraphDef (graph_def.h).
  void write_graph(const ProtoMessage& graph_def);

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  RecordFile file_;
};

/// Returns the time as TensorBoard counts it: seconds since 1970.
double wall_time();

}  // namespace taper
