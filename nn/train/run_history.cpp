#include "taper/nn/train/run_history.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "taper/nn/train/saved_rows.h"

namespace taper {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr const char *kPoints = "points", *kEpochs = "epochs", *kStepsPerPoint = "steps_per_point";

template <class Number>
double number_or_none(const std::optional<Number>& value) {
  return value ? double(*value) : kNone;
}

template <class Number>
std::optional<Number> number_if_any(double value) {
  return std::isnan(value) ? std::nullopt : std::optional(Number(value));
}

constexpr size_t kPointColumns = 13, kEpochColumns = 8;

SavedRow<kPointColumns> row_of(const StepPoint& point) {
  return {double(point.step),
          double(point.steps),
          point.loss_sum,
          point.least_loss,
          point.largest_loss,
          double(point.losses),
          point.lr,
          point.speed_sum,
          double(point.device_memory_bytes),
          number_or_none(point.sensors.memory_used_bytes),
          number_or_none(point.sensors.utilisation),
          number_or_none(point.sensors.temperature_celsius),
          number_or_none(point.sensors.power_watts)};
}

StepPoint point_of(const SavedRow<kPointColumns>& row) {
  return {.step = int64_t(row[0]),
          .steps = int64_t(row[1]),
          .loss_sum = row[2],
          .least_loss = row[3],
          .largest_loss = row[4],
          .losses = int64_t(row[5]),
          .lr = row[6],
          .speed_sum = row[7],
          .device_memory_bytes = int64_t(row[8]),
          .sensors = {.memory_used_bytes = number_if_any<int64_t>(row[9]),
                      .utilisation = number_if_any<double>(row[10]),
                      .temperature_celsius = number_if_any<double>(row[11]),
                      .power_watts = number_if_any<double>(row[12])}};
}

SavedRow<kEpochColumns> row_of(const EpochPoint& point) {
  const EpochRecord& record = point.record;
  const Score score = record.score.value_or(Score{kNone, kNone, kNone});
  return {double(record.epoch),     record.loss,    score.top1,        score.top5, score.loss,
          record.images_per_second, record.seconds, double(point.step)};
}

EpochPoint epoch_of(const SavedRow<kEpochColumns>& row) {
  EpochRecord record = {.epoch = int64_t(row[0]), .loss = row[1], .score = {}};
  if (!std::isnan(row[2])) record.score = Score{row[2], row[3], row[4]};
  record.images_per_second = row[5];
  record.seconds = row[6];
  return {record, int64_t(row[7])};
}

}  // namespace

void StepPoint::add(const StepPoint& later) {
  step = later.step;
  steps += later.steps;
  loss_sum += later.loss_sum;
  losses += later.losses;
  least_loss = std::min(least_loss, later.least_loss);
  largest_loss = std::max(largest_loss, later.largest_loss);
  lr = later.lr;
  speed_sum += later.speed_sum;
  device_memory_bytes = std::max(device_memory_bytes, later.device_memory_bytes);
  sensors = later.sensors;
}

void RunHistory::on_step_end(const StepRecord& record) {
  StepPoint point = {.step = record.step,
                     .steps = 1,
                     .lr = record.lr,
                     .speed_sum = record.images_per_second,
                     .device_memory_bytes = record.device_memory_bytes,
                     .sensors = record.sensors.value_or(gpu::SensorReadings())};
  if (std::isfinite(record.loss)) {
    point.loss_sum = point.least_loss = point.largest_loss = record.loss;
    point.losses = 1;
  }
  if (!points_.empty() && points_.back().steps < steps_per_point_)
    points_.back().add(point);
  else
    points_.push_back(point);
  if (points_.size() > kMostPoints) halve();
}

void RunHistory::on_epoch_end(const EpochRecord& record) {
  if (!epochs_.empty() && epochs_.back().record.epoch == record.epoch) epochs_.pop_back();
  epochs_.push_back({record, points_.empty() ? 0 : points_.back().step});
  epochs_.back().record.seconds += seconds_before_;
}

void RunHistory::halve() {
  steps_per_point_ *= 2;
  size_t kept = 0;
  for (size_t i = 0; i < points_.size(); i += 2) {
    if (i + 1 < points_.size()) points_[i].add(points_[i + 1]);
    points_[kept++] = points_[i];
  }
  points_.resize(kept);
}

SavedState RunHistory::state_dict() const {
  SavedState state;
  state.tensors = {{kPoints, tensor_of_rows<kPointColumns>(points_, row_of)},
                   {kEpochs, tensor_of_rows<kEpochColumns>(epochs_, row_of)}};
  state.numbers = {{kStepsPerPoint, double(steps_per_point_)}};
  return state;
}

void RunHistory::load_state_dict(const SavedState& state) {
  std::vector<StepPoint> points = items_of_rows(state, kPoints, "RunHistory", point_of);
  std::vector<EpochPoint> epochs = items_of_rows(state, kEpochs, "RunHistory", epoch_of);
  steps_per_point_ = int64_t(state.number(kStepsPerPoint, "RunHistory"));
  points_ = std::move(points);
  epochs_ = std::move(epochs);
  seconds_before_ = epochs_.empty() ? 0 : epochs_.back().record.seconds;
}

}  // namespace taper
