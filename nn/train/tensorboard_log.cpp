#include "taper/nn/train/tensorboard_log.h"

#include <algorithm>

#include "taper/nn/report/pictures.h"
#include "taper/nn/report/tensorboard/graph_def.h"

namespace taper {
namespace {

constexpr int64_t kSamples = 16;

/// Adds a scalar if there is one.
template <class Number>
void add_known(EventSummary& summary, const char* tag, const std::optional<Number>& value) {
  if (value) summary.scalar(tag, double(*value));
}

SessionStatus status_of(Ending ending) {
  if (ending == Ending::kFinished || ending == Ending::kStoppedEarly) return SessionStatus::kSuccess;
  return ending == Ending::kInterrupted ? SessionStatus::kUnknown : SessionStatus::kFailure;
}

/// Returns some predictions, spread evenly over the set and each time for the same images.
std::vector<ImagePrediction> choose_samples(const std::vector<ImagePrediction>& all) {
  std::vector<ImagePrediction> samples;
  const auto count = std::min(int64_t(all.size()), kSamples);
  for (int64_t i = 0; i < count; ++i) samples.push_back(all[size_t(i * int64_t(all.size()) / count)]);
  return samples;
}

}  // namespace

TensorBoardLog::TensorBoardLog(const std::string& folder, TensorBoardLogOptions options)
    : writer_(folder), options_(std::move(options)) {}

void TensorBoardLog::on_step_begin(int64_t step) {
  if (has_begun_) return;
  has_begun_ = true;
  writer_.begin(step);
  last_step_ = step - 1;
  EventSummary summary;
  std::vector<std::string> scores = {"train/epoch_loss"};
  if (options_.validation) {
    for (const char* tag : {"validation/top1", "validation/top5", "validation/loss"})
      scores.emplace_back(tag);
  }
  add_session_start(summary, options_.settings, scores);
  writer_.write(0, summary);
  if (options_.model) trace_.emplace();
}

void TensorBoardLog::on_step_enqueued(int64_t /*step*/) {
  if (!trace_) return;
  writer_.write_graph(graph_def(*trace_, *options_.model));
  trace_.reset();
}

void TensorBoardLog::on_step_end(const StepRecord& record) {
  last_step_ = record.step;
  EventSummary summary;
  summary.scalar("train/loss", record.loss);
  if (record.group_lrs.size() < 2) summary.scalar("learning_rate", record.lr);
  for (size_t i = 0; record.group_lrs.size() >= 2 && i < record.group_lrs.size(); ++i)
    summary.scalar(fmt::format("learning_rate/group{}", i), record.group_lrs[i]);
  add_known(summary, "amp/scale", record.scale);
  if (record.scale) summary.scalar("amp/skipped", record.skipped ? 1 : 0);
  summary.scalar("speed/images_per_second", record.images_per_second);
  summary.scalar("device/memory_bytes", double(record.device_memory_bytes));
  if (record.sensors) {
    add_known(summary, "device/gpu_memory_bytes", record.sensors->memory_used_bytes);
    add_known(summary, "device/gpu_utilisation", record.sensors->utilisation);
    add_known(summary, "device/gpu_temperature_celsius", record.sensors->temperature_celsius);
    add_known(summary, "device/gpu_power_watts", record.sensors->power_watts);
  }
  writer_.write(record.step, summary);
}

void TensorBoardLog::on_epoch_end(const EpochRecord& record) {
  EventSummary summary;
  summary.scalar("train/epoch_loss", record.loss).scalar("train/epoch", double(record.epoch + 1));
  if (record.score) {
    summary.scalar("validation/loss", record.score->loss)
        .scalar("validation/top1", record.score->top1)
        .scalar("validation/top5", record.score->top5);
    if (options_.validation && options_.predictions) add_predictions(summary);
  }
  writer_.write(last_step_, summary);
  if (!options_.model) return;
  EventSummary histograms;
  add_histograms(histograms);
  writer_.write(last_step_, histograms);
}

void TensorBoardLog::add_histograms(EventSummary& summary) const {
  int64_t not_finite = 0;
  for (const auto& [name, parameter] : options_.model->named_parameters()) {
    summary.histogram("parameters/" + name, histogram_of(parameter.detach()));
    if (!parameter.grad().defined()) continue;
    const Histogram gradient = histogram_of(parameter.grad().detach());
    not_finite += gradient.not_finite;
    summary.histogram("gradients/" + name, gradient);
  }
  summary.scalar("gradients/not_finite", double(not_finite));
}

void TensorBoardLog::add_predictions(EventSummary& summary) const {
  const Dataset& dataset = options_.validation->dataset();
  const std::vector<ImagePrediction>& all = options_.predictions->all();
  std::vector<CaptionedImage> samples;
  std::string table = "| image | class | prediction | probability |\n|---|---|---|---|\n";
  for (const ImagePrediction& one : choose_samples(all)) {
    const std::string label = shown_class(dataset, one.label),
                      predicted = shown_class(dataset, one.predicted);
    const std::optional<Image> picture = picture_if_there(*options_.validation, one.index);
    if (!picture) continue;
    samples.push_back(
        {*picture, label, fmt::format("{:.0f}% {}", 100 * one.confidence, predicted), one.is_right()});
    table += fmt::format("| {} | {} | {} | {:.3f} |\n", escape_markdown(dataset.describe(one.index)),
                         escape_markdown(label), escape_markdown(predicted), one.confidence);
  }
  if (samples.empty()) return;
  std::vector<std::string> names;
  for (int64_t i = 0; i < dataset.num_classes(); ++i) names.push_back(shown_class(dataset, i));
  summary.image("validation/samples", contact_sheet(samples))
      .image("validation/confusion", confusion_picture(confusion_counts(all), names))
      .text("validation/predictions", table);
}

void TensorBoardLog::on_run_end(const Outcome& outcome) {
  if (!has_begun_) return;
  trace_.reset();
  EventSummary summary;
  add_session_end(summary, status_of(outcome.ending));
  writer_.write(last_step_, summary);
}

}  // namespace taper
