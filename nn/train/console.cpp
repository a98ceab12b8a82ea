#include "taper/nn/train/console.h"

#include "taper/core/files/program.h"

namespace taper {

void Console::on_step_end(const StepRecord& record) {
  progress_.update(fmt::format("epoch {}/{}", record.epoch + 1, plan_.epochs), record.step, plan_.total_steps,
                   fmt::format("loss {:.4f}  lr {:.4g}  {:.0f} img/s  mem {}", record.loss, record.lr,
                               record.images_per_second, format_bytes(record.device_memory_bytes)));
}

void Console::on_evaluated(int64_t done, int64_t total) {
  progress_.update("validation", done, total, "");
}

void Console::on_epoch_end(const EpochRecord& record) {
  progress_.clear();
  print_out("epoch {:>{}}/{}  loss {:.4f}", record.epoch + 1, std::to_string(plan_.epochs).size(),
            plan_.epochs, record.loss);
  if (record.score)
    print_out("  val loss {:.4f}  top1 {:.2f}%  top5 {:.2f}%", record.score->loss, 100 * record.score->top1,
              100 * record.score->top5);
  print_out("  {:.0f} img/s  {}\n", record.images_per_second, format_duration(record.seconds));
  std::fflush(stdout);
}

void Console::on_sink_dropped(const std::string& error) {
  progress_.clear();
  print_error(error + "; training goes on without it");
}

void Console::on_run_end(const Outcome& /*outcome*/) {
  progress_.clear();
}

}  // namespace taper
