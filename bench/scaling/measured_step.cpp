#include "bench/scaling/measured_step.h"

#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/engine.h"
#include "taper/core/base/cpu_level.h"
#include "taper/core/base/median.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/random/random.h"

namespace taper::scaling {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

std::string describe_device(Device device) {
  if (device.is_cuda())
    return gpu::properties(device.index).name +
           (gpu::is_simulated() ? ", simulated: its times mean nothing" : "");
  return fmt::format("CPU with {}, {} threads", name(cpu_level()), num_threads());
}

constexpr const char* kFormat = "taper step 1";

}  // namespace

/// Notes moments: of the host on a CPU, of the stream on a GPU.
class Training::Recorder {
 public:
  explicit Recorder(Device device) : device_(device) {}

  void note() {
    if (device_.is_cuda())
      events_.emplace_back(gpu::EventTiming::kOn).record(gpu::current_stream(device_.index));
    else
      moments_.push_back(Clock::now());
  }
  /// Returns the seconds from the first moment to each one, and forgets them. Waits for the GPU.
  std::vector<double> take() {
    std::vector<double> seconds;
    if (!events_.empty()) events_.back().synchronize();
    for (const gpu::Event& one : events_) seconds.push_back(double(one.elapsed_ms(events_[0])) * 1e-3);
    for (const Clock::time_point one : moments_)
      seconds.push_back(std::chrono::duration<double>(one - moments_[0]).count());
    events_.clear();
    moments_.clear();
    order.clear();
    return seconds;
  }

  std::vector<size_t> order;  ///< parameters, as their gradients came

 private:
  Device device_;
  std::vector<gpu::Event> events_;
  std::vector<Clock::time_point> moments_;
};

Training::Training(const StepOptions& options)
    : options_(options), device_(options.device), model_(make_resnet(options.arch, {.num_classes = 1000})) {
  model_.to(device_);
  optimizer_.emplace(model_.named_parameters(), SgdOptions{.lr = 0.01, .momentum = 0.9});
  const Shape shape = {options.batch, 3, options.size, options.size};
  images_ = ops::contiguous(ops::randn(shape, {.device = device_}), kChannelsLast);
  labels_ = ops::to_device(from_vector(std::vector<int64_t>(size_t(options.batch), 1)), device_);
}

double Training::step() {
  const Clock::time_point start = Clock::now();
  const auto note = [&] {
    if (recorder_) recorder_->note();
  };
  optimizer_->zero_grad();
  note();
  Tensor loss;
  {
    std::optional<AutocastGuard> autocast;
    if (options_.precision == "bf16") autocast.emplace(device_.type, kBFloat16);
    loss = cross_entropy(model_(images_), labels_);
  }
  note();
  loss.backward();
  note();
  optimizer_->step();
  note();
  if (device_.is_cuda()) gpu::synchronize(device_.index);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Step Training::measure() {
  const auto parameters = model_.named_parameters();
  recorder_ = std::make_shared<Recorder>(device_);
  for (size_t i = 0; i < parameters.size(); ++i)
    register_post_accumulate_hook(parameters[i].second, [weak = std::weak_ptr(recorder_), i](const Tensor&) {
      const auto recorder = weak.lock();
      if (!recorder) return;
      recorder->note();
      recorder->order.push_back(i);
    });
  std::vector<size_t> order;
  std::vector<std::vector<double>> moments;  // by moment, by step
  for (int64_t i = -2; i < options_.repeats; ++i) {
    step();
    order = recorder_->order;
    const std::vector<double> one = recorder_->take();
    if (i < 0) continue;
    moments.resize(one.size());
    for (size_t moment = 0; moment < one.size(); ++moment) moments[moment].push_back(one[moment]);
  }
  recorder_ = nullptr;
  const size_t ends = moments.size();  // start, forward's end, gradients, backward's end, optimiser's end
  const auto at = [&](size_t moment) { return median(moments[moment]); };
  Step result = {.what = fmt::format("{}, {} images of {} px, {}", options_.arch, options_.batch,
                                     options_.size, options_.precision),
                 .device = describe_device(device_),
                 .forward = at(1),
                 .backward = at(ends - 2) - at(1),
                 .optimizer = at(ends - 1) - at(ends - 2)};
  for (size_t i = 0; i < order.size(); ++i) {
    const Tensor& x = parameters[order[i]].second;
    result.gradients.push_back({.name = parameters[order[i]].first,
                                .bytes = x.numel() * int64_t(size_of(x.dtype())),
                                .ready = at(2 + i) - at(1)});
  }
  return result;
}

std::string to_text(const Step& step) {
  Json gradients = Json::array();
  for (const Gradient& one : step.gradients)
    gradients.push_back({{"name", one.name}, {"bytes", one.bytes}, {"ready_ms", one.ready * 1e3}});
  return Json{{"format", kFormat},
              {"what", step.what},
              {"device", step.device},
              {"forward_ms", step.forward * 1e3},
              {"backward_ms", step.backward * 1e3},
              {"optimizer_ms", step.optimizer * 1e3},
              {"gradients", gradients}}
             .dump(2) +
         "\n";
}

Step step_from_text(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    TAPER_CHECK(json.at("format") == kFormat, "its format is not \"{}\"", kFormat);
    Step step = {.what = json.at("what"),
                 .device = json.at("device"),
                 .forward = json.at("forward_ms").get<double>() * 1e-3,
                 .backward = json.at("backward_ms").get<double>() * 1e-3,
                 .optimizer = json.at("optimizer_ms").get<double>() * 1e-3};
    for (const Json& one : json.at("gradients"))
      step.gradients.push_back({.name = one.at("name"),
                                .bytes = one.at("bytes"),
                                .ready = one.at("ready_ms").get<double>() * 1e-3});
    TAPER_CHECK(!step.gradients.empty() && step.seconds() > 0, "it has no gradients or takes no time");
    return step;
  } catch (const Json::exception& error) {
    fail("not a measured step: {}", error.what());
  }
}

void save_step(const std::string& path, const Step& step) {
  write_file_atomically(path, to_text(step));
}

Step load_step(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  TAPER_CHECK(bool(file), "{}: cannot be read", path);
  try {
    return step_from_text(text.str());
  } catch (const Error& error) {
    fail("{}: {}", path, error.what());
  }
}

}  // namespace taper::scaling
