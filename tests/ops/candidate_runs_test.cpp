// What tests of candidates stand on: candidates run with what they ask for, refusals, few engines, a limit of
// time.

#include <catch2/catch.hpp>

#include "taper/ops/elementwise/elementwise.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/double_call.h"
#include "tests/support/fake_library.h"
#include "tests/support/few_engines.h"
#include "tests/support/moments.h"
#include "tests/support/resnet50_problems.h"
#include "tests/support/time_limit.h"

using namespace taper;

namespace {

constexpr auto kCudnn = ops::VendorLibrary::kCudnn;

std::shared_ptr<ops::EngineLibrary> library() {
  return ops::engine_library(kCudnn);
}

void compute_nothing(const ops::EnginePattern&, const ops::EngineOperands&, double) {}

}  // namespace

TEST_CASE("a candidate runs with the workspace that it asks for") {
  const DoubleCall call = double_call();
  for (const size_t bytes : {size_t(0), size_t(100)}) {
    bool ran = false;
    const Algorithm candidate = {
        .name = "any", .workspace_bytes = bytes, .run = [&](const DoubleCall& doubling, void* workspace) {
          CHECK((workspace != nullptr) == (bytes > 0));
          write_doubled(doubling);
          ran = true;
        }};
    run_candidate(candidate, call);
    CHECK(ran);
    CHECK(is_doubled(call));
    CHECK(is_doubled({call.x, outputs_of(call, candidate).at(0)}));
  }
}

TEST_CASE("what a vendor's library refuses is counted, and nothing is to be looked at then") {
  const FakeGuard fake(compute_nothing);
  const DoubleCall call = double_call();
  const auto refuse = [](const DoubleCall&, void*) { fail<AlgorithmFailed>("fakednn: not supported"); };
  const auto compute = [](const DoubleCall& doubling, void*) { write_doubled(doubling); };
  CHECK(is_vendors("fakednn 1.0 engine"));
  CHECK_FALSE(is_vendors("own kernel"));
  CandidateRuns runs;
  CHECK(runs.run(Algorithm{.name = "own kernel", .run = compute}, call));
  CHECK_FALSE(runs.run(Algorithm{.name = "unfit", .supported = false, .run = compute}, call));
  CHECK_FALSE(runs.run(Algorithm{.name = "huge", .workspace_bytes = size_t(2) << 30, .run = compute}, call));
  CHECK_FALSE(runs.run(Algorithm{.name = "fakednn 1.0 engine", .run = refuse}, call));
  CHECK(runs.outputs(Algorithm{.name = "fakednn 1.0 other", .run = refuse}, call).empty());
  CHECK(runs.outputs(Algorithm{.name = "own kernel", .run = compute}, call).size() == 1);
  CHECK(runs.computed() == 2);
  CHECK(runs.refused() == 2);
}

TEST_CASE("of a library's engines a test takes two that compile and four that do not") {
  const FakeGuard fake(compute_nothing);
  fake.state->offers.clear();
  for (int i = 0; i < 12; ++i)
    fake.state->offers.push_back({.name = fmt::format("engine {}", i), .compiles = i % 2 == 0});
  const ops::NormPattern pattern = {.shape = {1, 8, 4, 4}};
  const auto names = [&] {
    std::vector<std::string> offered;
    for (const ops::Engine& engine : library()->engines(pattern)) offered.push_back(engine.algorithm.name);
    return offered;
  };
  {
    FewEngines few;
    CHECK(library()->name() == "fakednn 1.0");
    CHECK(names() ==
          std::vector<std::string>{"engine 0", "engine 1", "engine 2", "engine 3", "engine 5", "engine 7"});
    CHECK(few.take_left_out() == 6);
    CHECK(few.take_left_out() == 0);
  }
  CHECK(names().size() == 12);
}

TEST_CASE("without a library there are no few engines either") {
  const ops::EngineLibraryLoader before = ops::set_engine_library_loader(kCudnn, {});
  {
    const FewEngines few;
    CHECK(library() == nullptr);
  }
  ops::set_engine_library_loader(kCudnn, before);
}

TEST_CASE("moments of sums of unrounded values pass for those of the rounded ones") {
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  const double mean = GENERATE(0., 5.);
  for (const int64_t pixels : {1, 50}) {
    const Tensor wide = ops::add(random_tensor({2, 8, pixels, 1}, kFloat32), mean);
    std::vector<float> means, variances;
    for (int64_t channel = 0; channel < 8; ++channel) {
      float sum = 0, squares = 0;
      for (const float value : ops::to_vector<float>(wide.select(1, channel))) {
        sum += value;
        squares += value * value;
      }
      means.push_back(sum / float(2 * pixels));
      variances.push_back(std::max(squares / float(2 * pixels) - means.back() * means.back(), 0.F));
    }
    check_moments({from_vector(means), from_vector(variances)}, ops::cast(wide, dtype), Gathered::kFromSums);
  }
}

TEST_CASE("a test that is out of time leaves problems out, and says so") {
  TimeLimit long_enough(1000), over(0);
  CHECK(long_enough.takes_one_more());
  long_enough.checked();
  long_enough.left_out(3);
  CHECK_FALSE(over.takes_one_more());
  CHECK_FALSE(over.takes_one_more());
  CHECK(long_enough.text() ==
        "checked 1 candidates for 1 problems; left out 3 of their candidates, and 0 problems after 1000 s "
        "(TAPER_TEST_SECONDS)");
  CHECK_THAT(over.text(), Catch::Contains("checked 0 candidates for 0 problems") &&
                              Catch::Contains("and 2 problems after 0 s"));
}

TEST_CASE("of ResNet-50's layers the smallest of each kind come first") {
  const auto layers = smallest_first();
  CHECK(layers.size() == kResnet50Layers.size());
  for (size_t i = 0; i < 5; ++i) {
    CHECK(layers[i].round == 0);
    for (size_t j = 0; j < i; ++j)
      CHECK((layers[i].layer.kernel != layers[j].layer.kernel ||
             layers[i].layer.stride != layers[j].layer.stride));
  }
  CHECK(layers[5].round == 1);
}
