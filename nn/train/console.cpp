#include "taper/nn/train/console.h"

#include "taper/core/files/program.h"

namespace taper {

std::string format_sensors(const gpu::SensorReadings& sensors) {
  std::string text;
  if (sensors.utilisation) text += fmt::format(" {:.0f}%", 100 * *sensors.utilisation);
  if (sensors.temperature_celsius) text += fmt::format(" {:.0f}C", *sensors.temperature_celsius);
  if (sensors.power_watts) text += fmt::format(" {:.0f}W", *sensors.power_watts);
  return text.empty() ? text : "gpu" + text;
}

void Console::on_step_end(const StepRecord& record) {
  std::string sensors = format_sensors(record.sensors.value_or(gpu::SensorReadings()));
  if (!sensors.empty()) sensors = "  " + sensors;
  progress_.update(fmt::format("epoch {}/{}", record.epoch + 1, plan_.epochs), record.step, plan_.total_steps,
                   fmt::format("loss {:.4f}  lr {:.4g}  {:.0f} img/s  mem {}{}", record.loss, record.lr,
                               record.images_per_second, format_bytes(record.device_memory_bytes), sensors));
}

void Console::on_evaluated(int64_t done, int64_t total) {
  progress_.update("validation", done, total, "");
}

void Console::on_batch_split(const BatchSplit& split) {
  progress_.clear();
  const std::string parts =
      split.part_size == 1 ? "single images are" : fmt::format("{} images at a time are", split.part_size);
  print_out("{} of {} images does not fit in memory: {} computed{}\n",
            split.training ? "a batch" : "a validation batch", split.batch_size, parts,
            split.training ? ", and batch norm sees these" : "");
  std::fflush(stdout);
}

void Console::on_epoch_end(const EpochRecord& record) {
  progress_.clear();
  print_out("epoch {:>{}}/{}  loss {:.4f}", record.epoch + 1, std::to_string(plan_.epochs).size(),
            plan_.epochs, record.loss);
  if (record.score)
    print_out("  val loss {:.4f}  top1 {:.2f}%  top5 {:.2f}%", record.score->loss, 100 * record.score->top1,
              100 * record.score->top5);
  // A resumed run may have made no step of the epoch beyond the first ones, whose speed says nothing.
  if (record.images_per_second > 0) print_out("  {:.0f} img/s", record.images_per_second);
  print_out("  {}\n", format_duration(record.seconds));
  std::fflush(stdout);
}

void Console::on_checkpoint(const CheckpointRecord& record) {
  if (record.error.empty()) return;
  progress_.clear();
  print_error(fmt::format("the checkpoint of step {} was not saved: {}; training goes on", record.step,
                          record.error));
}

void Console::on_sink_dropped(const std::string& error) {
  progress_.clear();
  print_error(error + "; training goes on without it");
}

void Console::on_run_end(const Outcome& outcome) {
  progress_.clear();
  if (outcome.skipped_updates) {
    print_out("{} of {} updates were skipped for gradients that overflowed\n", *outcome.skipped_updates,
              outcome.steps);
  }
}

}  // namespace taper
