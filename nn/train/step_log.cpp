#include "taper/nn/train/step_log.h"

#include <nlohmann/json.hpp>

namespace taper {

void StepLog::on_step_end(const StepRecord& record) {
  nlohmann::ordered_json line;
  line["step"] = record.step;
  line["epoch"] = record.epoch;
  line["loss"] = record.loss;  // JSON has no NaN: it becomes null
  line["lr"] = record.lr;
  line["images_per_second"] = nullptr;
  line["device_memory_bytes"] = nullptr;
  if (!options_.deterministic) {
    line["images_per_second"] = record.images_per_second;
    line["device_memory_bytes"] = record.device_memory_bytes;
  }
  file_.write(line.dump() + "\n");
}

}  // namespace taper
