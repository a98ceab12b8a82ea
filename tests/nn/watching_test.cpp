// What watches a run: predictions, the page, the log's sensors, and the early end.

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "file_bytes.h"
#include "taper/core/generator.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/console.h"
#include "taper/nn/train/early_stop.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/run_page.h"
#include "taper/nn/train/step_log.h"
#include "taper/nn/train/tensorboard_log.h"
#include "taper/nn/train/train_loop.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

/// A linear classifier of the digits.
struct Classifier {
  explicit Classifier(Device device)
      : test(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
             {.batch_size = 120, .device = device}) {
    manual_seed(3);
    model.add<Flatten>().add<Linear>(3 * 8 * 8, 10);
    model.to(device);
  }

  Sequential model;
  DataLoader test;
  Predictions predictions;
};

EpochRecord epoch_with(int64_t epoch, double top1, double seconds = 0) {
  return {.epoch = epoch, .score = Score{.top1 = top1}, .seconds = seconds};
}

StepRecord step_with(int64_t step, double loss) {
  StepRecord record;
  record.step = step;
  record.loss = loss;
  record.images_per_second = 7;
  return record;
}

/// A page and the curves that it shows.
struct Watched {
  explicit Watched(const std::string& path, RunPageOptions options = {})
      : page(path, history, std::move(options)) {}

  void step(const StepRecord& record) { history.on_step_end(record); }
  void epoch(const EpochRecord& record) {
    history.on_epoch_end(record);
    page.on_epoch_end(record);
  }

  RunHistory history;
  RunPage page;
};

/// Returns the data that a page shows.
nlohmann::json page_data(const std::string& page) {
  const std::string begin = R"(<script type="application/json" id="data">)";
  const size_t from = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(from, page.find("</script>", from) - from));
}

}  // namespace

TEST_CASE("an evaluation keeps what the model said of each image") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Classifier digits(device);
    const Score score = *evaluate(digits.model, digits.test, {.predictions = &digits.predictions});
    const std::vector<ImagePrediction>& all = digits.predictions.all();
    REQUIRE(all.size() == 360);
    double right = 0, loss = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i].index == int64_t(i));
      CHECK(all[i].label == digits.test.dataset().label(all[i].index));
      CHECK(all[i].confidence >= all[i].of_label);
      right += all[i].is_right();
      loss -= std::log(all[i].of_label);
    }
    CHECK(score.top1 == Approx(right / 360));
    CHECK(score.loss == Approx(loss / 360).epsilon(1e-5));
    int64_t counted = 0, diagonal = 0;
    for (const auto& [classes, count] : confusion_counts(all)) {
      counted += count;
      if (classes.first == classes.second) diagonal += count;
    }
    CHECK(counted == 360);
    CHECK(double(diagonal) == right);
    const std::vector<ImagePrediction> worst = worst_mistakes(all, 5);
    REQUIRE(worst.size() == 5);
    CHECK_FALSE(worst[0].is_right());
    CHECK(worst[0].confidence >= worst[4].confidence);
    CHECK(worst_mistakes(all, 1000).size() == 360 - size_t(right));

    // One that is cut off leaves those of the evaluation before.
    TrainingRun run([] { return true; });
    evaluate(digits.model, digits.test, {.run = &run, .predictions = &digits.predictions});
    CHECK(digits.predictions.all().size() == 360);
    Predictions again;
    again.load_state_dict(digits.predictions.state_dict());
    CHECK(again.all() == digits.predictions.all());
    CHECK_THROWS_WITH(again.load_state_dict({}), Contains("the saved state has no images"));
    CHECK(again.all().size() == 360);
    CHECK(shown_class(digits.test.dataset(), 3) == "3");
    CHECK(shown_class(digits.test.dataset(), 12) == "class 12");
  }
}

TEST_CASE("every group's learning rate is known, and shown") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Classifier digits(device);
    const NamedTensors all = digits.model.named_parameters();
    using Group = ParameterGroup<SgdOptions>;
    SGD optimizer(std::vector<Group>{{{all[0]}, {.lr = 0.25}}, {{all[1]}, {.lr = 0.5}}});
    digits.test.start(0);
    const EnqueuedStep step = TrainStep(classification_loss(digits.model), optimizer)({*digits.test.next()});
    CHECK(step.lrs() == std::vector<double>{0.25, 0.5});
    CHECK(step.lr() == 0.25);
    const TemporaryFolder folder;
    StepRecord record = step_with(1, step.loss());
    record.group_lrs = step.lrs();
    TensorBoardLog(folder / "events").on_step_end(record);
    const std::string bytes = read_bytes(std::filesystem::directory_iterator(folder / "events")->path());
    CHECK_THAT(bytes, Contains("learning_rate/group0") && Contains("learning_rate/group1"));
  }
}

TEST_CASE("a run that goes on tells TensorBoard which steps it does again") {
  const TemporaryFolder folder;
  TensorBoardLog log(folder / "events");
  log.on_step_begin(21);
  log.on_step_end(step_with(21, 0.5));
  log.on_step_begin(22);
  log.on_run_end({});
  const std::string bytes = read_bytes(std::filesystem::directory_iterator(folder / "events")->path());
  const ProtoMessage begins =
      ProtoMessage().integer(2, 21).message(7, ProtoMessage().integer(1, 1));  // SessionLog.START
  CHECK_THAT(bytes, Contains(begins.str()));
  CHECK(bytes.find(begins.str()) == bytes.rfind(begins.str()));
  CHECK(bytes.find(begins.str()) < bytes.find("train/loss"));
}

TEST_CASE("a run ends after so many epochs without a better score") {
  EarlyStop stop(2);
  CHECK_FALSE(stop.update(epoch_with(0, 0.5)));
  CHECK_FALSE(stop.update(epoch_with(1, 0.4)));
  CHECK_FALSE(stop.update(epoch_with(2, 0.6)));
  CHECK_FALSE(stop.update(epoch_with(3, 0.6)));  // as good is not better
  CHECK_FALSE(stop.update({.epoch = 4, .score = {}}));
  EarlyStop resumed(2), patient(4);
  resumed.load_state_dict(stop.state_dict());
  patient.load_state_dict(stop.state_dict());
  CHECK(stop.update(epoch_with(5, 0.1)));
  CHECK(stop.reason() == "stopped early: 2 epochs without a better top1 than the 60.00% of epoch 3");
  CHECK(resumed.update(epoch_with(5, 0.1)));
  CHECK(resumed.reason() == stop.reason());
  CHECK_FALSE(patient.update(epoch_with(5, 0.1)));
  CHECK_FALSE(stop.update(epoch_with(6, 0.7)));
  CHECK_THROWS_WITH(EarlyStop(0), Contains("at least 1 epoch, got 0"));
  CHECK_THROWS_WITH(stop.load_state_dict({}), Contains("EarlyStop: the saved state has no best"));
}

TEST_CASE("a loop asks after each epoch whether it is enough") {
  Classifier digits(kCPU);
  SGD optimizer(digits.model.named_parameters(), {.lr = 0.05});
  DataLoader train(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                   {.batch_size = 600, .drop_last = true});
  TrainingRun run;
  TrainLoop loop = {.plan = TrainPlan(train, {.epochs = 9}),
                    .model = digits.model,
                    .batches = train,
                    .step = TrainStep(classification_loss(digits.model), optimizer),
                    .enough = [](const EpochRecord& record) { return record.epoch == 2; }};
  const Outcome& outcome = run.execute([&] { loop.train(run); });
  CHECK(outcome.ending == Ending::kStoppedEarly);
  CHECK(std::string(name_of(outcome.ending)) == "stopped early");
  CHECK(outcome.steps == 6);
  CHECK(outcome.errors.empty());

  // A part of an epoch, which a longer run would go on with, counts for nothing.
  std::vector<int64_t> asked;
  loop.enough = [&](const EpochRecord& record) {
    asked.push_back(record.epoch);
    return false;
  };
  loop.plan.total_steps = 5;
  TrainingRun again;
  loop.train(again);
  CHECK(again.outcome().steps == 5);
  CHECK(asked == std::vector<int64_t>{0, 1});
}

TEST_CASE("the live line has what is known of a GPU") {
  CHECK(format_sensors({}).empty());
  CHECK(format_sensors({.utilisation = 0.966, .temperature_celsius = 54, .power_watts = 310.5}) ==
        "gpu 97% 54C 310W");
  CHECK(format_sensors({.power_watts = 70}) == "gpu 70W");
}

TEST_CASE("the log has the sensors of a GPU, and null for what differs from run to run") {
  const TemporaryFolder folder;
  const auto line = [&](const StepRecord& record, bool deterministic) {
    StepLog(folder / "log", {.deterministic = deterministic}).on_step_end(record);
    return nlohmann::json::parse(read_bytes(folder / "log"));
  };
  StepRecord on_cpu;
  on_cpu.step = 1;
  CHECK_FALSE(line(on_cpu, false).contains("gpu_utilisation"));
  StepRecord on_gpu = on_cpu;
  on_gpu.sensors = gpu::SensorReadings{.utilisation = 0.97, .power_watts = 310.5};
  CHECK(line(on_gpu, false)["gpu_utilisation"] == 0.97);
  CHECK(line(on_gpu, false)["gpu_power_watts"] == 310.5);
  for (const char* name : {"gpu_memory_bytes", "gpu_temperature_celsius"}) {
    CHECK(line(on_gpu, false).contains(name));
    CHECK(line(on_gpu, false)[name].is_null());
  }
  for (const char* name : {"gpu_utilisation", "gpu_power_watts"}) CHECK(line(on_gpu, true)[name].is_null());
}

TEST_CASE("the page of a run has its steps, epochs, predictions and options, whatever the names are") {
  const TemporaryFolder folder;
  const std::string hostile = "</script><b>\x1b[31m\xff\xe2\x80\xae";
  std::filesystem::create_directories(folder / "images/a");
  std::filesystem::create_directories(folder / ("images/b" + std::string("<img src=x>\xff")));
  Image red(16, 24);
  for (size_t i = 0; i < red.pixels.size(); i += 3) red.pixels[i] = 250;
  const std::vector<uint8_t> png = encode_png(red);
  const std::string bytes(png.begin(), png.end());
  write_bytes(folder / "images/a/one.png", bytes);
  write_bytes(folder / ("images/b" + std::string("<img src=x>\xff/&\"'\n.png")), bytes);
  const DataLoader batches(std::make_shared<ImageFolderDataset>(folder / "images"),
                           evaluation_transform(8, 8), {.batch_size = 2});
  Predictions predictions;
  predictions.begin();
  predictions.add(from_vector(std::vector<float>{0, 3, 0, 5}, {2, 2}),
                  {.images = {}, .labels = from_vector(std::vector<int64_t>{0, 1}, {2}), .indices = {0, 1}});
  predictions.finish();

  Watched watched(folder / "page.html", {.title = hostile,
                                         .settings = {{"lr", 0.5}, {"data", hostile}, {"shuffle", true}},
                                         .versions = {{"Taper", "1"}},
                                         .validation = &batches,
                                         .predictions = &predictions});
  watched.step(step_with(1, 2.5));
  watched.step(step_with(2, INFINITY));
  watched.epoch({.epoch = 0, .loss = 2.5, .score = Score{.top1 = 0.5, .top5 = 1, .loss = 0.7}});
  const std::string running = read_bytes(folder / "page.html");
  CHECK_THAT(running,
             Contains("</html>") && !Contains("@DATA@") && !Contains("<b>") && !Contains("<img src=x>"));
  CHECK_THAT(running, !Contains("\x1b") && !Contains("\xe2\x80\xae") && !Contains("https:"));
  nlohmann::json data = page_data(running);
  CHECK(data["state"] == "running");
  CHECK(data["title"] == R"(</script><b>\x1b[31m\xff\u202e)");
  CHECK(data["settings"][0] == nlohmann::json({"lr", 0.5}));
  CHECK(data["settings"][2] == nlohmann::json({"shuffle", true}));
  CHECK(data["steps"]["step"] == std::vector<int>{1, 2});
  CHECK(data["steps"]["loss"][0] == 2.5);
  CHECK(data["steps"]["loss"][1].is_null());
  CHECK(data["epochs"][0]["top1"] == 0.5);
  CHECK(data["classes"] == std::vector<std::string>{"a", R"(b<img src=x>\xff)"});
  CHECK(data["confusion"] == nlohmann::json::parse("[[0, 1, 1], [1, 1, 1]]"));
  REQUIRE(data["mistakes"].size() == 1);
  CHECK(data["mistakes"][0]["confidence"] == Approx(1 / (1 + std::exp(-3))));
  CHECK_THAT(data["mistakes"][0]["picture"].get<std::string>(),
             Contains("data:image/png;base64,iVBORw0KGgo"));

  std::filesystem::remove(folder / "images/a/one.png");  // a picture that is gone is left out
  Outcome interrupted;
  interrupted.ending = Ending::kInterrupted;
  interrupted.errors = {"disk: \x1b full"};
  watched.page.on_run_end(interrupted);
  data = page_data(read_bytes(folder / "page.html"));
  CHECK(data["state"] == "interrupted");
  CHECK(data["errors"][0] == R"(disk: \x1b full)");
  CHECK(data["mistakes"][0]["picture"] == "");
  CHECK(folder.files() == std::vector<std::string>{"images", "page.html"});
  CHECK_THROWS_AS(RunPage(folder / "missing/page.html", watched.history, {}), FileError);
}

TEST_CASE("the page of a resumed run begins with the steps before the checkpoint, whatever is in the file") {
  const TemporaryFolder folder;
  const std::string path = folder / "page.html";
  const auto data = [&] { return page_data(read_bytes(path)); };
  Watched first(path);
  for (int64_t step = 1; step <= 3; ++step) first.step(step_with(step, 2));
  first.step(step_with(4, INFINITY));
  first.epoch({.epoch = 0, .loss = NAN, .score = {}, .images_per_second = 5, .seconds = 1});
  StepRecord last = step_with(5, 3);
  last.sensors = gpu::SensorReadings{.memory_used_bytes = 7, .power_watts = 300};
  first.step(last);
  first.epoch(epoch_with(1, 0.25, 2));
  const nlohmann::json before = data();
  const SavedState saved = first.history.state_dict();
  first.step(step_with(6, 2));  // lost
  first.epoch(epoch_with(2, 0.5));

  write_bytes(path, "another's");
  Watched none(path);
  none.page.on_run_end({});
  CHECK(read_bytes(path) == "another's");  // nothing is known of any step
  Watched second(path);
  second.history.load_state_dict(saved);
  second.page.on_run_end({});  // no step was made: the page is that of the checkpoint
  nlohmann::json again = data();
  for (const char* name : {"steps", "epochs"}) CHECK(again[name] == before[name]);
  second.step(step_with(6, 1));
  second.epoch(epoch_with(1, 0.75, 1));  // --max-steps had cut it
  nlohmann::json after = data();
  CHECK(after["steps"]["step"] == std::vector<int>{1, 2, 3, 4, 5, 6});
  CHECK(after["steps"]["loss"][5] == 1);
  CHECK(after["steps"]["gpu_power"][4] == 300);
  CHECK(after["steps"]["gpu_utilisation"][4].is_null());
  for (auto& [name, column] : after["steps"].items()) {
    INFO(name);
    column.erase(5);
    CHECK(column == before["steps"][name]);
  }
  CHECK(after["epochs"].size() == 2);
  CHECK(after["epochs"][1]["seconds"] == 3);  // a second of this run, two of the one before
  CHECK(after["epochs"][0] == before["epochs"][0]);
  CHECK(after["epochs"][1]["top1"] == 0.75);

  SavedState other = saved;
  other.tensors["points"] = from_vector(std::vector<double>{1, 2}, {1, 2});
  CHECK_THROWS_WITH(second.history.load_state_dict(other), Contains("the saved state has no points"));
  CHECK_THROWS_WITH(second.history.load_state_dict({}), Contains("the saved state has no points"));
  second.epoch(epoch_with(2, 0.5));
  CHECK(data()["steps"]["step"].size() == 6);  // nothing was changed
}

TEST_CASE("the curves of a long run have few points, which hold all of its steps") {
  const TemporaryFolder folder;
  Watched run(folder / "page.html");
  constexpr int64_t kSteps = 11'111;
  for (int64_t step = 1; step <= kSteps; ++step) run.step(step_with(step, double(step)));
  run.page.on_run_end({});
  const nlohmann::json steps = page_data(read_bytes(folder / "page.html"))["steps"];
  const size_t points = steps["step"].size();
  CHECK(points <= RunHistory::kMostPoints);
  CHECK(points >= RunHistory::kMostPoints / 2);
  CHECK(steps["step"].back() == kSteps);
  Watched resumed(folder / "resumed.html");
  resumed.history.load_state_dict(run.history.state_dict());
  for (Watched* one : {&run, &resumed}) {
    one->step(step_with(kSteps + 1, 1));
    one->page.on_run_end({});
  }
  CHECK(page_data(read_bytes(folder / "resumed.html"))["steps"] ==
        page_data(read_bytes(folder / "page.html"))["steps"]);
  CHECK(steps["least_loss"][0] == 1);
  CHECK(steps["largest_loss"].back() == kSteps);
  int64_t before = 0;
  for (size_t i = 0; i < points; ++i) {
    const int64_t last = steps["step"][i];
    CHECK(steps["loss"][i] == Approx(double(before + 1 + last) / 2));  // the mean of the steps in between
    CHECK(steps["speed"][i] == 7);
    before = last;
  }
}
