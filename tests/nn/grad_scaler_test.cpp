// Dynamic loss scaling: PyTorch's scales, and what is refused.

#include "taper/nn/amp/grad_scaler.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "taper/autograd/functions.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "test_folders.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

constexpr double kInf = INFINITY;

Tensor weights(Device device, const std::vector<float>& values = {1, 2}) {
  return ops::to_device(from_vector<float>(values), device).set_requires_grad();
}

/// Gives the parameter the gradient that a scaled loss would.
void set_scaled_grad(const Tensor& parameter, const GradScaler& scaler, double value) {
  parameter.set_grad(
      ops::full(parameter.shape(), value * scaler.get_scale(), {.device = parameter.device()}));
}

/// As in tests/oracle/grad_scaler_golden.py.
bool overflows(int64_t update) {
  return update * update % 1009 == 4 || (update >= 3000 && update < 3020);
}

}  // namespace

TEST_CASE("the scale is that of PyTorch 2.3 over 5,000 updates with overflows") {
  std::ifstream file(test_data_folder() + "/grad_scaler.txt");
  std::string line;
  REQUIRE(std::getline(file, line));
  REQUIRE(line.starts_with("# torch 2.3.1"));
  int blocks = 0;
  while (std::getline(file, line)) {
    INFO(line);
    std::istringstream header(line);
    std::string word;
    GradScalerOptions options;
    REQUIRE(header >> word >> options.init_scale >> options.growth_factor >> options.backoff_factor >>
            options.growth_interval);
    const Tensor w = weights(kCPU, {0});
    SGD optimizer({w}, {.lr = 1});
    GradScaler scaler(options);
    const auto tracker = [&] { return scaler.state_dict().numbers.at("growth_tracker"); };
    double before = float(options.init_scale);
    std::string update, expected_scale;
    double expected_tracker = 0;
    int64_t i = 0;
    while (file >> update >> expected_scale >> expected_tracker) {
      const int64_t until = update == "end" ? 5000 : std::stoll(update);
      while (i < until) {
        if (i > 0) CHECK(scaler.get_scale() == before);
        scaler.scale(w.sum());
        set_scaled_grad(w, scaler, overflows(++i) ? kInf : 1);
        scaler.step(optimizer);
        scaler.update();
      }
      before = std::stof(expected_scale);
      CHECK(scaler.get_scale() == before);
      CHECK(tracker() == expected_tracker);
      if (update == "end") break;
    }
    double parameter = 0;
    REQUIRE(file >> parameter);
    CHECK(w.item() == parameter);
    std::getline(file, line);
    ++blocks;
  }
  CHECK(blocks == 5);
}

TEST_CASE("a GPU follows the CPU's scales") {
  std::vector<std::vector<double>> scales;
  for (const Device device : test_devices()) {
    const Tensor w = weights(device);
    SGD optimizer({w}, {.lr = 1});
    GradScaler scaler({.init_scale = 8, .growth_interval = 3});
    std::vector<double>& mine = scales.emplace_back();
    for (int i = 0; i < 20; ++i) {
      scaler.scale(w.sum()).backward();
      if (i % 7 == 4) set_scaled_grad(w, scaler, i % 2 ? kInf : NAN);
      scaler.step(optimizer);
      scaler.update();
      optimizer.zero_grad();
      mine.push_back(scaler.get_scale());
    }
  }
  for (const auto& other : scales) CHECK(other == scales[0]);
  CHECK(scales[0][2] == 16);
  CHECK(scales[0][4] == 8);
}

TEST_CASE("after any number of overflows in a row, good gradients count again") {
  for (const Device device : test_devices()) {
    const Tensor w = weights(device);
    SGD optimizer({w}, {.lr = 1});
    GradScaler scaler({.growth_interval = 1});
    const auto step = [&](double grad) {
      scaler.scale(w.sum());
      set_scaled_grad(w, scaler, grad);
      scaler.step(optimizer);
      scaler.update();
    };
    for (int i = 0; i < 200; ++i) step(kInf);
    CHECK(scaler.get_scale() == std::ldexp(1, -126));
    CHECK(ops::to_vector<float>(w) == std::vector<float>{1, 2});
    step(1);
    CHECK(ops::to_vector<float>(w) == std::vector<float>{0, 1});
    CHECK(scaler.get_scale() == std::ldexp(1, -125));
  }
}

TEST_CASE("gradients are unscaled before they are clipped, and accumulate scaled") {
  for (const Device device : test_devices()) {
    const Tensor scaled = weights(device), plain = weights(device);
    SGD a({scaled}, {.lr = 0.5}), b({plain}, {.lr = 0.5});
    GradScaler scaler({.init_scale = 1024});
    for (int batch = 0; batch < 2; ++batch) {
      scaler.scale(sum(square(scaled))).backward();
      sum(square(plain)).backward();
    }
    CHECK(ops::to_vector<double>(scaled.grad())[1] == 1024 * ops::to_vector<double>(plain.grad())[1]);
    scaler.unscale(a);
    CHECK(clip_grad_norm({scaled}, 1).item() == clip_grad_norm({plain}, 1).item());
    scaler.step(a);
    b.step();
    CHECK(ops::to_vector<float>(scaled) == ops::to_vector<float>(plain));
  }
}

TEST_CASE("an optimiser whose gradients overflow skips alone, and the scale is lowered for all") {
  for (const Device device : test_devices()) {
    const Tensor x = weights(device), y = weights(device), z = weights(device);
    SGD one({x}, {.lr = 1}), two({y}, {.lr = 1}), three({z}, {.lr = 1});
    GradScaler scaler;
    scaler.scale(sum(add(add(x, y), z))).backward();
    set_scaled_grad(y, scaler, -kInf);
    scaler.unscale(two);
    for (SGD* optimizer : {&one, &two, &three}) scaler.step(*optimizer);
    CHECK(ops::item(scaler.found_inf(one)) == 0);
    CHECK(ops::item(scaler.found_inf(two)) == 1);
    scaler.update();
    CHECK(ops::to_vector<float>(x) == std::vector<float>{0, 1});
    CHECK(ops::to_vector<float>(y) == std::vector<float>{1, 2});
    CHECK(ops::to_vector<float>(z) == std::vector<float>{0, 1});
    CHECK(scaler.get_scale() == 32768);
  }
}

TEST_CASE("a saved scaler goes on where it stopped") {
  for (const Device device : test_devices()) {
    const Tensor w = weights(device);
    SGD optimizer({w}, {.lr = 1});
    const auto step = [&](GradScaler& scaler, double grad = 1) {
      scaler.scale(w.sum());
      set_scaled_grad(w, scaler, grad);
      scaler.step(optimizer);
      scaler.update();
      return scaler.get_scale();
    };
    GradScaler first({.init_scale = 64, .growth_factor = 3, .backoff_factor = 0.25, .growth_interval = 3});
    CHECK(step(first, kInf) == 16);
    step(first);
    step(first);
    GradScaler second;
    second.load_state_dict(first.state_dict());
    CHECK(second.get_scale() == 16);
    CHECK(second.state_dict().numbers == first.state_dict().numbers);
    CHECK(step(second) == 48);
    CHECK(step(second, kInf) == 12);
    second.load_state_dict(first.state_dict());  // also into one that has run
    CHECK(step(second) == 48);
    SavedState damaged = first.state_dict();
    damaged.numbers.erase("growth_tracker");
    CHECK_THROWS_WITH(second.load_state_dict(damaged), "GradScaler: the saved state has no growth_tracker");
    const auto refuses = [&](const char* name, double value, const char* why) {
      SavedState bad = first.state_dict();
      bad.numbers[name] = value;
      CHECK_THROWS_WITH(second.load_state_dict(bad), Contains(why));
    };
    GradScaler never({.growth_interval = int64_t(1) << 40});  // grows never
    second.load_state_dict(never.state_dict());
    CHECK(second.state_dict().numbers == never.state_dict().numbers);
    second.load_state_dict(first.state_dict());
    REQUIRE(step(second) == 48);
    refuses("growth_tracker", 1e12, "the saved growth_tracker must be a whole number from 0");
    refuses("growth_tracker", NAN, "the saved growth_tracker must be");
    refuses("growth_tracker", -5, "the saved growth_tracker must be");
    refuses("growth_interval", 2.5, "the saved growth_interval must be a whole number from 1");
    refuses("scale", 0, "the saved scale must be positive and finite");
    refuses("scale", 1e-60, "the saved scale must be positive and finite");
    CHECK(second.get_scale() == 48);
    second.scale(w.sum());
    set_scaled_grad(w, second, 1);
    second.unscale(optimizer);
    CHECK_THROWS_WITH(second.load_state_dict(first.state_dict()), Contains("between unscale() and update()"));
  }
}

TEST_CASE("calls in the wrong order, and options that make no sense, are refused") {
  const Tensor w = weights(kCPU);
  SGD optimizer({w}, {.lr = 1});
  GradScaler scaler;
  CHECK_THROWS_WITH(scaler.step(optimizer), Contains("the loss was not scaled; call scale(loss)"));
  CHECK_THROWS_WITH(scaler.update(), Contains("update() without a step()"));
  const Tensor loss = scaler.scale(w.sum());
  CHECK_THROWS_WITH(scaler.step(optimizer), Contains("no parameter has a gradient"));
  loss.backward();
  CHECK_THROWS_WITH(scaler.found_inf(optimizer), Contains("found_inf() without an unscale()"));
  scaler.unscale(optimizer);
  CHECK_THROWS_WITH(scaler.unscale(optimizer), Contains("unscale() was already called for this optimizer"));
  scaler.step(optimizer);
  CHECK_THROWS_WITH(scaler.step(optimizer), Contains("step() was already called for this optimizer"));
  CHECK_THROWS_WITH(scaler.unscale(optimizer), Contains("unscale() after step()"));
  scaler.update();
  CHECK_THROWS_WITH(scaler.update(), Contains("update() without a step()"));
  CHECK(ops::to_vector<float>(w) == std::vector<float>{0, 1});  // one update

  const Tensor half = ops::ones({2}, {.dtype = kFloat16}).set_requires_grad();
  half.set_grad(ops::ones({2}, {.dtype = kFloat16}));
  SGD of_half({half}, {.lr = 1});
  CHECK_THROWS_WITH(scaler.step(of_half), Contains("a gradient is f16"));

  CHECK_THROWS_WITH(scaler.scale({}), Contains("the loss is undefined"));
  CHECK_THROWS_WITH(GradScaler({.init_scale = 0}), Contains("init_scale must be positive"));
  CHECK_THROWS_WITH(GradScaler({.init_scale = 1e39}), Contains("and finite"));
  CHECK_THROWS_WITH(GradScaler({.init_scale = 1e-60}), Contains("at least 2^-126"));
  CHECK_THROWS_WITH(GradScaler({.growth_factor = 1}), Contains("growth_factor must be above 1"));
  CHECK_THROWS_WITH(GradScaler({.backoff_factor = 1}), Contains("backoff_factor must be between 0 and 1"));
  CHECK_THROWS_WITH(GradScaler({.growth_interval = 0}), Contains("growth_interval must be at least 1"));
}

TEST_CASE("a scaler that is not enabled passes everything through") {
  const Tensor w = weights(kCPU);
  SGD optimizer({w}, {.lr = 1});
  GradScaler scaler({.enabled = false});
  const Tensor loss = w.sum();
  CHECK(scaler.scale(loss).is_same(loss));
  loss.backward();
  scaler.unscale(optimizer);
  scaler.step(optimizer);
  CHECK_FALSE(scaler.found_inf(optimizer).defined());
  scaler.update();
  CHECK(ops::to_vector<float>(w) == std::vector<float>{0, 1});
  CHECK(scaler.get_scale() == 1);
  CHECK(scaler.state_dict().numbers.empty());
  scaler.load_state_dict({});
}

TEST_CASE("an f16 loss of one element is scaled in f32") {
  GradScaler scaler;
  const Tensor loss = scaler.scale(ops::full({}, 100, {.dtype = kFloat16}));
  CHECK(loss.dtype() == kFloat32);
  CHECK(loss.item() == 6553600);
}
