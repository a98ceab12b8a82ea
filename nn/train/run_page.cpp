#include "taper/nn/train/run_page.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/nn/report/html_page.h"

extern "C" const char taper_embedded_run_page_html[];

namespace taper {
namespace {

using PageJson = nlohmann::ordered_json;

constexpr size_t kMistakes = 24;
constexpr int kLargestPicture = 128;  // pixels on a side

template <class Number>
PageJson number_or_null(const std::optional<Number>& value) {
  return value ? PageJson(*value) : PageJson();
}

std::string base64(const std::vector<uint8_t>& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    for (size_t j = 0; j < 3; ++j) three = three << 8 | (i + j < bytes.size() ? bytes[i + j] : 0);
    for (size_t j = 0; j < 4; ++j) text += i + j > bytes.size() ? '=' : kDigits[three >> (18 - 6 * j) & 63];
  }
  return text;
}

std::string as_data_uri(const Image& image) {
  const int most = std::max(image.width, image.height);
  if (most <= kLargestPicture) return "data:image/png;base64," + base64(encode_png(image));
  const auto scaled = [&](int side) { return std::max(side * kLargestPicture / most, 1); };
  return "data:image/png;base64," +
         base64(encode_png(resize(image, scaled(image.width), scaled(image.height))));
}

/// Returns the points by column, since names would be most of the bytes.
PageJson columns_of(const std::vector<StepPoint>& points) {
  PageJson columns = {{"step", PageJson::array()}};
  for (const StepPoint& point : points) {
    const bool has_loss = point.losses > 0;
    columns["step"].push_back(point.step);
    columns["steps"].push_back(point.steps);
    columns["losses"].push_back(point.losses);
    columns["loss"].push_back(has_loss ? PageJson(point.loss_sum / double(point.losses)) : PageJson());
    columns["least_loss"].push_back(has_loss ? PageJson(point.least_loss) : PageJson());
    columns["largest_loss"].push_back(has_loss ? PageJson(point.largest_loss) : PageJson());
    columns["lr"].push_back(point.lr);
    columns["speed"].push_back(point.speed_sum / double(point.steps));
    columns["memory"].push_back(point.device_memory_bytes);
    columns["gpu_memory"].push_back(number_or_null(point.sensors.memory_used_bytes));
    columns["gpu_utilisation"].push_back(number_or_null(point.sensors.utilisation));
    columns["gpu_temperature"].push_back(number_or_null(point.sensors.temperature_celsius));
    columns["gpu_power"].push_back(number_or_null(point.sensors.power_watts));
  }
  return columns;
}

PageJson epoch_json(const EpochRecord& record, int64_t step) {
  PageJson epoch = {{"epoch", record.epoch + 1}, {"step", step}, {"loss", record.loss}};
  if (record.score) {
    epoch["validation_loss"] = record.score->loss;
    epoch["top1"] = record.score->top1;
    epoch["top5"] = record.score->top5;
  }
  epoch["speed"] = record.images_per_second > 0 ? PageJson(record.images_per_second) : PageJson();
  epoch["seconds"] = record.seconds;
  return epoch;
}

PageJson settings_json(const NamedSettings& settings) {
  PageJson list = PageJson::array();
  for (const auto& [name, setting] : settings) {
    PageJson value;
    std::visit([&](const auto& held) { value = held; }, setting);
    if (value.is_string()) value = printable(value.get<std::string>());
    list.push_back({name, value});
  }
  return list;
}

PageJson mistakes_json(const DataLoader& validation, const std::vector<ImagePrediction>& all) {
  PageJson list = PageJson::array();
  for (const ImagePrediction& mistake : worst_mistakes(all, kMistakes)) {
    const std::optional<Image> picture = picture_if_there(validation, mistake.index);
    list.push_back({{"picture", picture ? as_data_uri(*picture) : ""},
                    {"name", printable(validation.dataset().describe(mistake.index))},
                    {"label", mistake.label},
                    {"predicted", mistake.predicted},
                    {"confidence", mistake.confidence},
                    {"of_label", mistake.of_label}});
  }
  return list;
}

void add_predictions_json(PageJson& page, const DataLoader& validation,
                          const std::vector<ImagePrediction>& all) {
  page["validation_images"] = all.size();
  page["classes"] = PageJson::array();
  for (int64_t i = 0; i < validation.dataset().num_classes(); ++i)
    page["classes"].push_back(shown_class(validation.dataset(), i));
  page["confusion"] = PageJson::array();
  for (const auto& [classes, count] : confusion_counts(all))
    page["confusion"].push_back({classes.first, classes.second, count});
  page["mistakes"] = mistakes_json(validation, all);
}

}  // namespace

RunPage::RunPage(std::string path, const RunHistory& history, RunPageOptions options)
    : path_(std::move(path)), history_(history), options_(std::move(options)) {
  AtomicFile::check(path_);  // before the work, not after
}

void RunPage::on_epoch_end(const EpochRecord& /*record*/) {
  write("running", {});
}

void RunPage::on_run_end(const Outcome& outcome) {
  if (!history_.points().empty()) write(name_of(outcome.ending), outcome.errors);
}

void RunPage::write(const std::string& state, const std::vector<std::string>& errors) const {
  PageJson page = {{"title", printable(options_.title)}, {"state", state}};
  page["written"] = fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)));
  page["errors"] = PageJson::array();
  for (const std::string& error : errors) page["errors"].push_back(printable(error));
  page["epochs_planned"] = options_.plan.epochs;
  page["steps_planned"] = options_.plan.total_steps;
  page["steps"] = columns_of(history_.points());
  page["epochs"] = PageJson::array();
  for (const auto& [record, step] : history_.epochs()) page["epochs"].push_back(epoch_json(record, step));
  page["settings"] = settings_json(options_.settings);
  page["versions"] = options_.versions;
  if (options_.validation && options_.predictions)
    add_predictions_json(page, *options_.validation, options_.predictions->all());
  write_html_page(path_, taper_embedded_run_page_html,
                  page.dump(-1, ' ', false, PageJson::error_handler_t::replace));
}

}  // namespace taper
