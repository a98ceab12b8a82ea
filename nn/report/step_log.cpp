#include "taper/nn/report/step_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "taper/core/error.h"

namespace taper {

StepLog::StepLog(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "w")) {
  if (!file_) fail<FileError>("{}: cannot be written: {}", path, std::strerror(errno));
}

StepLog::~StepLog() = default;

void StepLog::write(const StepRecord& record) {
  nlohmann::ordered_json line;
  line["step"] = record.step;
  line["epoch"] = record.epoch;
  line["loss"] = record.loss;  // JSON has no NaN: it becomes null
  line["lr"] = record.lr;
  line["images_per_second"] = nullptr;
  if (record.images_per_second) line["images_per_second"] = *record.images_per_second;
  line["device_memory_bytes"] = nullptr;
  if (record.device_memory_bytes) line["device_memory_bytes"] = *record.device_memory_bytes;
  const std::string text = line.dump() + "\n";
  if (std::fputs(text.c_str(), file_.get()) < 0 || std::fflush(file_.get()) != 0) {
    fail<FileError>("{}: writing failed: {}", path_, std::strerror(errno));
  }
}

}  // namespace taper
