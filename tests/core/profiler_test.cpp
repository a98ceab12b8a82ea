// What a Profiler records on the host, and the trace file made of it. GPU streams: gpu_profiler_test.cu.

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "taper/autograd/functions.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/profiler.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/nn/train/step_profile.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/index/index.h"
#include "taper/ops/index/join.h"
#include "taper/ops/matmul/matmul.h"
#include "taper/ops/optimizer/optimizer.h"
#include "taper/ops/pool/pool2d.h"
#include "taper/ops/random/random.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"
#include "tests/support/temporary_folder.h"

using namespace taper;
using Catch::Contains;
using nlohmann::json;

namespace {

std::vector<std::string> names(const Profile& profile) {
  std::vector<std::string> result;
  for (const ProfileSpan& span : profile.spans) result.push_back(span.name);
  return result;
}

std::vector<const ProfileSpan*> named(const Profile& profile, std::string_view name) {
  std::vector<const ProfileSpan*> result;
  for (const ProfileSpan& span : profile.spans)
    if (span.name == name) result.push_back(&span);
  return result;
}

/// Bars of one thread lie inside each other or beside each other, and `depth` counts them.
void check_nesting(const Profile& profile) {
  std::map<int, std::vector<const ProfileSpan*>> open;
  for (const ProfileSpan& span : profile.spans) {
    CHECK(span.begin_ns >= 0);
    CHECK(span.begin_ns <= span.end_ns);
    CHECK(span.end_ns <= profile.duration_ns);
    if (span.thread < 0) continue;
    REQUIRE(span.thread < int(profile.threads.size()));
    auto& around = open[span.thread];
    while (!around.empty() && around.back()->end_ns <= span.begin_ns) around.pop_back();
    if (!around.empty()) {
      INFO(span.name << " in " << around.back()->name);
      CHECK(span.end_ns <= around.back()->end_ns);
    }
    CHECK(span.depth == int(around.size()));
    around.push_back(&span);
  }
}

json read_trace(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

/// One step of everything a training does.
void train_step(ResNet& model, Optimizer& optimizer, DataLoader& loader) {
  loader.start(0);
  const Batch batch = *loader.next();
  optimizer.zero_grad();
  cross_entropy(model(batch.images), batch.labels).backward();
  clip_grad_norm(model.parameters(), 1);
  optimizer.step();
}

}  // namespace

TEST_CASE("scopes become bars with names, kinds, inputs and times that nest") {
  const Tensor a = ops::ones({2, 3}).set_requires_grad(), b = ops::ones({3, 4});
  Profiler profiler;
  {
    const OpScope outer("my step", SpanKind::kStep);
    matmul(a, b).sum().backward();
  }
  const Profile profile = profiler.stop();
  check_nesting(profile);
  const auto step = named(profile, "my step");
  REQUIRE(step.size() == 1);
  CHECK(step[0]->kind == SpanKind::kStep);
  CHECK(step[0]->depth == 0);
  CHECK(profile.threads[size_t(step[0]->thread)] == "main");
  const auto product = named(profile, "matmul");  // the tape's bar; ops::matmul inside says nothing new
  REQUIRE(product.size() >= 1);
  CHECK(product[0]->kind == SpanKind::kOp);
  CHECK(product[0]->inputs == "f32 [2, 3], f32 [3, 4]");
  CHECK(product[0]->depth == 1);
  const auto backward = named(profile, "matmul backward");
  REQUIRE(backward.size() == 1);
  CHECK(backward[0]->kind == SpanKind::kBackward);
  CHECK(backward[0]->inputs == "f32 [2, 4]");
  CHECK(backward[0]->begin_ns >= product[0]->end_ns);
  CHECK(named(profile, "AccumulateGrad backward").size() == 1);
  CHECK(profile.dropped == 0);
}

TEST_CASE("without a Profiler nothing is recorded") {
  const Tensor a = ops::ones({8});
  {
    Profiler profiler;
    ops::add(a, a);
    CHECK(Profiler::is_recording());
  }
  CHECK_FALSE(Profiler::is_recording());
  for (int i = 0; i < 3; ++i) ops::mul(a, a);
  {
    const OpScope scope("unheard");
    CHECK_FALSE(scope.is_recorded());
    Profiler profiler;
    const Profile profile = profiler.stop();
    CHECK(profile.spans.empty());
    CHECK(profile.memory.empty());
    CHECK(profile.threads.empty());
  }
}

TEST_CASE("scopes that are open at the end are cut there, and those open at the beginning left out") {
  Profile profile;
  {
    const OpScope before("before");
    Profiler profiler;
    const OpScope inside("inside");
    const OpScope innermost("innermost");
    profile = profiler.stop();
    // The ends of the two scopes come after the next recording has begun, and do not disturb it.
    Profiler next;
    { const OpScope scope("next"); }
    CHECK(names(next.stop()) == std::vector<std::string>{"next"});
  }
  check_nesting(profile);
  CHECK(names(profile) == std::vector<std::string>{"inside", "innermost"});
  CHECK(profile.spans[0].end_ns == profile.duration_ns);
}

TEST_CASE("one Profiler records at a time, and stops once") {
  Profiler profiler;
  CHECK_THROWS_WITH(Profiler(), Contains("another one is recording"));
  profiler.stop();
  CHECK_THROWS_WITH(profiler.stop(), Contains("stopped already"));
  Profiler again;  // the first one, stopped, is not in the way
  CHECK_THROWS_WITH(Profiler({.max_events = 0}), Contains("max_events is 0"));
}

TEST_CASE("what goes beyond the limit is counted") {
  Profiler profiler({.max_events = 10, .memory = false});
  for (int i = 0; i < 25; ++i) const OpScope scope("tick");
  const Profile profile = profiler.stop();
  CHECK(profile.spans.size() == 10);
  CHECK(profile.dropped == 15);
  CHECK(profile.memory.empty());
}

TEST_CASE("allocations are recorded with what is held and who asked") {
  const int64_t before = cpu_allocator().stats().allocated_bytes;
  Profiler profiler;
  {
    const OpScope scope("holder");
    empty({1 << 18});
  }
  const Profile profile = profiler.stop();
  REQUIRE(profile.memory.size() == 2);
  const MemorySample &taken = profile.memory[0], &given = profile.memory[1];
  CHECK(taken.op == "holder");
  CHECK(taken.device.is_cpu());
  CHECK(taken.delta_bytes == 1 << 20);
  CHECK(taken.allocated_bytes == before + (1 << 20));
  CHECK(taken.reserved_bytes >= taken.allocated_bytes);
  CHECK(given.delta_bytes == -(1 << 20));
  CHECK(given.allocated_bytes == before);
  CHECK(given.time_ns >= taken.time_ns);
}

TEST_CASE("every thread has its track, under its name") {
  const int threads_before = num_threads();
  set_num_threads(3);
  Profiler profiler;
  std::thread([] {
    set_thread_name("helper");
    const OpScope scope("help");
  }).join();
  {
    const OpScope scope("loop");
    std::atomic<int> present{0};  // each chunk waits for the others: all three threads take one
    parallel_chunks(3, [&](int64_t) {
      ++present;
      while (present < 3) std::this_thread::yield();
    });
  }
  const Profile profile = profiler.stop();
  set_num_threads(threads_before);
  check_nesting(profile);
  REQUIRE(named(profile, "help").size() == 1);
  CHECK(profile.threads[size_t(named(profile, "help")[0]->thread)] == "helper");
  const auto shares = named(profile, "loop");
  REQUIRE(shares.size() == 3);
  std::set<std::string> who;
  for (const ProfileSpan* share : shares) who.insert(profile.threads[size_t(share->thread)]);
  CHECK(who == std::set<std::string>{"compute 1", "compute 2", "main"});
}

TEST_CASE("threads may record while a recording begins and ends") {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const OpScope outer("outer");
        const OpScope inner("inner");
        cpu_allocator().deallocate(cpu_allocator().allocate(64), 64);
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    Profiler profiler({.max_events = 1000});
    std::this_thread::yield();
    check_nesting(profiler.stop());
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("every op of a training step is there") {
  const auto dataset = std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain);
  DataLoader loader(dataset, evaluation_transform(32, 32), {.batch_size = 4, .workers = 1});
  ResNet model = resnet18({.num_classes = 10});
  SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  Profiler profiler;
  train_step(model, optimizer, loader);
  const Profile profile = profiler.stop();
  check_nesting(profile);
  std::map<std::string, SpanKind> found;
  for (const ProfileSpan& span : profile.spans) found.emplace(span.name, span.kind);
  const std::map<std::string, SpanKind> expected = {
      {"next batch", SpanKind::kData},
      {"load sample", SpanKind::kData},
      {"conv2d", SpanKind::kOp},
      {"batch_norm", SpanKind::kOp},
      {"max_pool2d", SpanKind::kOp},
      {"adaptive_avg_pool2d", SpanKind::kOp},
      {"linear", SpanKind::kOp},
      {"cross_entropy", SpanKind::kOp},
      {"cross_entropy backward", SpanKind::kBackward},
      {"linear backward", SpanKind::kBackward},
      {"adaptive_avg_pool2d backward", SpanKind::kBackward},
      {"max_pool2d backward", SpanKind::kBackward},
      {"batch_norm backward", SpanKind::kBackward},
      {"conv2d backward", SpanKind::kBackward},
      {"conv2d_backward_input", SpanKind::kOp},
      {"conv2d_backward_weight", SpanKind::kOp},
      {"sum of gradients", SpanKind::kBackward},
      {"AccumulateGrad backward", SpanKind::kBackward},
      {"zero_grad", SpanKind::kOptimizer},
      {"clip_grad_norm", SpanKind::kOptimizer},
      {"global_norm", SpanKind::kOp},
      {"SGD step", SpanKind::kOptimizer},
      {"sgd_update", SpanKind::kOp},
  };
  for (const auto& [name, kind] : expected) {
    INFO(name);
    REQUIRE(found.contains(name));
    CHECK(found.at(name) == kind);
  }
  // A backward bar for each recorded op, and one update for all parameters.
  const auto count = [&](std::string_view name, SpanKind kind) {
    return std::ranges::count_if(
        profile.spans, [&](const ProfileSpan& span) { return span.name == name && span.kind == kind; });
  };
  CHECK(count("conv2d backward", SpanKind::kBackward) == 20);
  CHECK(count("conv2d", SpanKind::kOp) == 20);  // ResNet-18's
  CHECK_THAT(named(profile, "sgd_update")[0]->inputs, Contains("62 tensors of"));
  // Samples are loaded on the loader's thread, everything else on this one.
  CHECK(profile.threads[size_t(named(profile, "load sample")[0]->thread)] == "data loader 1");
  CHECK(profile.threads[size_t(named(profile, "conv2d")[0]->thread)] == "main");
  for (const MemorySample& sample : profile.memory) {
    INFO(sample.delta_bytes << " bytes at " << sample.time_ns);
    if (sample.delta_bytes > 0) CHECK(!sample.op.empty());
  }
}

TEST_CASE("functions of every op family name themselves, below the tape too") {
  const Tensor x = ops::ones({2, 3, 4, 4}), rows = ops::ones({4, 4}),
               index = ops::zeros({2}, {.dtype = kInt64});
  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
      {"add", [&] { ops::add(x, x); }},
      {"add_", [&] { ops::add_(ops::clone(x), 1); }},
      {"where", [&] { ops::where(ops::gt(x, 0), x, x); }},
      {"gt", [&] { ops::gt(x, 0); }},
      {"sum", [&] { ops::sum(x); }},
      {"var", [&] { ops::var(x); }},
      {"argmax", [&] { ops::argmax(x, 1); }},
      {"topk", [&] { ops::topk(x, 2, 1); }},
      {"matmul", [&] { ops::matmul(rows, rows); }},
      {"linear", [&] { ops::linear(rows, rows); }},
      {"softmax", [&] { ops::softmax(x, 1); }},
      {"log_softmax", [&] { ops::log_softmax(x, 1); }},
      {"avg_pool2d", [&] { ops::avg_pool2d(x, {.kernel = 2}); }},
      {"index_select", [&] { ops::index_select(x, 0, index); }},
      {"one_hot", [&] { ops::one_hot(index, 3); }},
      {"cat",
       [&] {
         ops::cat({x, x});
       }},
      {"flip", [&] { ops::flip(x, {1}); }},
      {"pad",
       [&] {
         ops::pad(x, {1, 1});
       }},
      {"clone", [&] { ops::clone(x); }},
      {"cast", [&] { ops::cast(x, kFloat64); }},
      {"contiguous", [&] { ops::contiguous(x, kChannelsLast); }},
      {"fill_", [&] { ops::fill_(x, 1); }},
      {"full", [&] { ops::zeros({3}); }},
      {"item", [&] { ops::item(ops::scalar_tensor(1)); }},
      {"normal_", [&] { ops::randn({3}); }},
      {"dropout", [&] { ops::dropout(x, 0.5); }},
      {"randperm", [&] { ops::randperm(5); }},
      {"ema_update", [&] { ops::ema_update({ops::clone(rows)}, {rows}, 0.9); }},
  };
  for (const auto& [name, call] : calls) {
    INFO(name);
    Profiler profiler;
    call();
    const Profile profile = profiler.stop();
    const auto found = named(profile, name);
    REQUIRE(!found.empty());
    CHECK(found[0]->depth == 0);
  }
}

TEST_CASE("the trace file is what its readers expect") {
  const TemporaryFolder folder;
  const Tensor a = ops::ones({4, 4}).set_requires_grad();
  Profiler profiler;
  {
    const OpScope scope(intern("a \"quoted\" \\ name\n"), SpanKind::kStep);
    matmul(a, a).sum().backward();
  }
  const Profile profile = profiler.stop();
  write_chrome_trace(folder / "trace.json", profile, {.process = "my program"});
  CHECK(folder.files() == std::vector<std::string>{"trace.json"});
  const json trace = read_trace(folder / "trace.json");
  CHECK(trace["otherData"]["dropped_events"] == 0);
  std::map<std::string, int> phases;
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> open;
  size_t bars = 0, samples = 0;
  for (const json& event : trace["traceEvents"]) {
    const std::string phase = event["ph"];
    ++phases[phase];
    CHECK(event["pid"] == 1);
    if (phase == "C") {
      CHECK(event["name"] == "memory of cpu");
      CHECK(event["args"]["allocated"] == profile.memory[samples].allocated_bytes);
      ++samples;
    }
    if (phase != "X") continue;
    const ProfileSpan& span = profile.spans[bars++];
    CHECK(event["name"] == span.name);
    CHECK(event["ts"].get<double>() == Approx(double(span.begin_ns) / 1000));
    CHECK(event["dur"].get<double>() == Approx(double(span.end_ns - span.begin_ns) / 1000));
    CHECK(event["tid"] == span.thread);
    if (!span.inputs.empty()) CHECK(event["args"]["inputs"] == span.inputs);
  }
  CHECK(bars == profile.spans.size());
  CHECK(samples == profile.memory.size());
  CHECK(phases["i"] == phases["C"]);
  CHECK(phases["M"] == 4);  // name and place of the process and of the one thread
  CHECK(trace["traceEvents"][0]["args"]["name"] == "my program");
  CHECK_THROWS_AS(write_chrome_trace(folder / "no/trace.json", profile), FileError);
}

TEST_CASE("a run's profile leaves out the first steps, and takes what there is of a short run") {
  struct Case {
    int64_t total, first, last;
  };
  for (const auto& [total, first, last] : {Case{1, 1, 1}, {5, 1, 5}, {6, 2, 6}, {8, 4, 8}, {100, 4, 8}}) {
    INFO(total << " steps");
    const TemporaryFolder folder;
    StepProfile steps(folder / "trace.json", total);
    for (int64_t step = 1; step <= total; ++step) {
      steps.on_step_begin(step);
      CHECK(Profiler::is_recording() == (step >= first && step <= last));
      { const OpScope scope("work"); }
      steps.on_step_enqueued(step);
    }
    steps.on_run_end({});
    CHECK_FALSE(Profiler::is_recording());
    CHECK_THAT(steps.result(),
               Contains(first == last ? "step 1 in" : fmt::format("steps {} to {} in", first, last)));
    std::vector<std::string> recorded, wanted;
    const json trace = read_trace(folder / "trace.json");
    for (const json& event : trace["traceEvents"])
      if (event["ph"] == "X" && event["cat"] == "step") recorded.push_back(event["name"]);
    for (int64_t step = first; step <= last; ++step) wanted.push_back(fmt::format("step {}", step));
    CHECK(recorded == wanted);
  }
  const TemporaryFolder folder;
  StepProfile interrupted(folder / "trace.json", 100);
  interrupted.on_step_begin(1);
  interrupted.on_step_enqueued(1);
  interrupted.on_run_end({});
  CHECK_THAT(interrupted.result(), Contains("no profile"));
  CHECK(folder.files().empty());
}
