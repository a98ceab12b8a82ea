// Convolutions through a vendor's library: what reaches it, and how its engines are chosen, refused,
// rejected, built, kept and remembered. The library is a naive one of the test's own; what is above it runs
// as with cuDNN.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "taper/core/gpu/launch.h"
#include "taper/core/tf32.h"
#include "taper/core/views.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/moments/channel_statistics_gpu.h"
#include "tests/support/candidate_outputs.h"
#include "tests/support/fake_library.h"
#include "tests/support/naive_conv.cuh"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"
#include "tests/support/warnings.h"

using namespace taper;
using ops::Conv2dPass;

namespace {

const Conv2dOptions kOptions = {.padding = 1};

struct SmallConv {
  Tensor x = random_tensor({1, 4, 3, 3}, kFloat32, 1), weight = random_tensor({4, 4, 3, 3}, kFloat32, 2);
  Tensor y = ops::conv2d(x, weight, {}, kOptions);
};

const SmallConv& small_conv() {
  static const SmallConv conv;
  return conv;
}

/// A library for convolutions, with an algorithm cache that has met none.
struct FakeConvGuard : FakeGuard {
  FakeConvGuard() : FakeGuard(compute_conv) {
    small_conv();  // on the CPU, so that it is not among the decisions
    algorithm_cache().clear();
  }
};

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

/// A 3x3 convolution on the GPU, which is checked against the CPU's.
void convolve() {
  const SmallConv& conv = small_conv();
  const Tensor y = ops::conv2d(conv.x.to(Device("cuda")), conv.weight.to(Device("cuda")), {}, kOptions);
  check_close(y, conv.y, tolerance(kFloat32, 36), 1);
}

AlgorithmRecord decision() {
  REQUIRE(algorithm_cache().decisions().size() == 1);
  return algorithm_cache().decisions()[0];
}

}  // namespace

TEST_CASE("all passes reach the library with their geometry and operands") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat32, kFloat16, kBFloat16);
  const int64_t groups = GENERATE(1, 2);
  FakeConvGuard fake;
  const Conv2dOptions options = {.stride = {2, 1}, .padding = {1, 0}, .dilation = {1, 2}, .groups = groups};
  const Tensor x = random_tensor({2, 4, 6, 7}, dtype, 1),
               weight = random_tensor({6, 4 / groups, 3, 2}, dtype, 2), bias = random_tensor({6}, dtype, 3),
               grad = random_tensor({2, 6, 3, 5}, dtype, 4);
  const Device cuda("cuda");
  const auto check = [&](int64_t sum_length, auto&& op) {
    check_close(op(cuda), op(Device("cpu")), tolerance(dtype, sum_length), 1);
  };
  check(24, [&](Device d) { return ops::conv2d(x.to(d), weight.to(d), bias.to(d), options); });
  check(36,
        [&](Device d) { return ops::conv2d_backward_input(grad.to(d), weight.to(d), x.shape(), options); });
  check(30,
        [&](Device d) { return ops::conv2d_backward_weight(grad.to(d), x.to(d), weight.shape(), options); });
  CHECK(fake.state->log == std::vector<std::string>{"build naive", "run naive", "build naive", "run naive",
                                                    "build naive", "run naive"});
  REQUIRE(fake.state->asked.size() == 3);
  for (const ops::EnginePattern& asked : fake.state->asked) {
    const auto& pattern = std::get<ops::ConvPattern>(asked);
    CHECK(pattern.dtype == dtype);
    CHECK_FALSE((pattern.residual || pattern.relu));
    CHECK(pattern.bias == (pattern.pass == Conv2dPass::kForward));
  }
}

TEST_CASE("a weight's gradient in f32 from half types is asked for as such, then rounded and converted") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  FakeConvGuard fake;
  const Shape shape = {6, 4, 3, 3};
  const Tensor grad = random_tensor({2, 6, 5, 4}, dtype, 1), x = random_tensor({2, 4, 5, 4}, dtype, 2);
  const auto gradient = [&](Device device, DType result) {
    return ops::conv2d_backward_weight(grad.to(device), x.to(device), shape, kOptions, result);
  };
  const Device cuda("cuda");
  const Tensor expected = gradient(Device("cpu"), kFloat32);
  check_close(gradient(cuda, kFloat32), expected, tolerance(dtype, 40), 1);  // by the engine that rounds
  REQUIRE(fake.state->asked.size() == 2);
  CHECK(std::get<ops::ConvPattern>(fake.state->asked[0]).f32_result);
  CHECK_FALSE(std::get<ops::ConvPattern>(fake.state->asked[1]).f32_result);
  CHECK(fake.state->count("run naive") == 1);

  const Tensor weight = empty(shape, {.device = cuda, .memory_format = kChannelsLast});
  const ops::Conv2dCall call = {.pass = Conv2dPass::kBackwardWeight,
                                .conv = ops::conv2d_geometry("test", x.shape(), shape, kOptions),
                                .x = ops::contiguous(x.to(cuda), kChannelsLast),
                                .weight = weight,
                                .y = ops::contiguous(grad.to(cuda), kChannelsLast)};
  std::vector<std::string> by_rank;
  auto candidates = ops::conv2d_gpu_algorithms(call);
  std::sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.rank < b.rank; });
  for (const auto& candidate : candidates) {
    if (!candidate.supported) continue;
    by_rank.push_back(candidate.name);
    const bool rounds = candidate.name.ends_with("rounded");
    INFO(candidate.name);
    ops::fill_(weight, std::nan(""));
    run_candidate(candidate, call);
    check_close(weight, expected, tolerance(rounds ? dtype : kFloat32, 40), 1);
    if (rounds) CHECK(ops::to_vector<float>(weight) == ops::to_vector<float>(ops::cast(weight, dtype)));
    CHECK(candidate.epsilon == (rounds ? epsilon(dtype) : 0));
  }
  CHECK(by_rank == std::vector<std::string>{"fakednn 1.0 naive, rounded", "fakednn 1.0 naive",
                                            "implicit gemm", "implicit gemm, large tiles",
                                            "implicit gemm, small tiles"});
}

TEST_CASE("a convolution of tensors that are not aligned to 16 bytes is not for the library") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  const Tensor x = random_tensor({1, 4, 6, 6}, kFloat32, 1),
               weight = random_tensor({6, 4, 3, 3}, kFloat32, 2);
  const Device cuda("cuda");
  const Tensor memory = empty({x.numel() + 1}, {.device = cuda});
  const Tensor shifted =
      views::permute(views::view(views::slice(memory, 0, 1, x.numel() + 1), {1, 6, 6, 4}), {0, 3, 1, 2});
  ops::copy_(shifted, x.to(cuda));
  check_close(ops::conv2d(shifted, weight.to(cuda), {}, kOptions), ops::conv2d(x, weight, {}, kOptions),
              tolerance(kFloat32, 36), 1);
  CHECK(fake.state->asked.empty());
}

TEST_CASE("a fused convolution's bias, residual and ReLU reach the library's engine") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  const Tensor x = random_tensor({2, 4, 3, 3}, kFloat32, 1),
               weight = random_tensor({6, 4, 3, 3}, kFloat32, 2), bias = random_tensor({6}, kFloat32, 3),
               residual = random_tensor({2, 6, 3, 3}, kFloat32, 4);
  const auto run = [&](Device d) {
    return ops::conv2d_fused(x.to(d), weight.to(d),
                             {.bias = bias.to(d), .residual = residual.to(d), .relu = true}, kOptions);
  };
  check_close(run(Device("cuda")), run(Device("cpu")), tolerance(kFloat32, 36), 1);
  REQUIRE(fake.state->asked.size() == 1);
  const auto& pattern = std::get<ops::ConvPattern>(fake.state->asked[0]);
  CHECK((pattern.bias && pattern.residual && pattern.relu));
  CHECK(fake.state->count("run naive") == 1);
}

TEST_CASE(
    "half convolutions with moments may take the library's sums, where these were measured the fastest") {
  if (!has_gpu()) return;
  const DType dtype = GENERATE(kFloat16, kBFloat16, kFloat32);
  FakeConvGuard fake;
  fake.state->offers = {{.name = "plain", .compiles = true}, {.name = "other", .workspace_bytes = 64}};
  const auto conv = ops::conv2d_geometry("test", {2, 4, 5, 5}, {6, 4, 3, 3}, kOptions);
  const Device device("cuda");
  const auto image = [&](const Shape& shape, uint64_t seed) {
    return ops::contiguous(random_tensor(shape, dtype, seed).to(device), kChannelsLast);
  };
  const auto channels = [&] { return empty({6}, {.device = device}); };
  const ops::Conv2dCall call = {
      .pass = Conv2dPass::kForward,
      .conv = conv,
      .x = image(conv.input_shape(), 1),
      .weight = image(conv.weight_shape(), 2),
      .y = empty(conv.output_shape(), {.dtype = dtype, .device = device, .memory_format = kChannelsLast}),
      .moments = {channels(), channels()}};
  const auto candidates = ops::conv2d_gpu_algorithms(call);
  int with_sums = 0;
  for (const auto& candidate : candidates) {
    if (!candidate.name.starts_with("fakednn")) continue;
    const bool sums = candidate.name.ends_with(", with sums");
    with_sums += int(sums);
    INFO(candidate.name << ", " << name(dtype));
    for (const Tensor& output : {call.y, call.moments.mean, call.moments.var})
      ops::copy_(output, ops::full_like(output, std::nan("")));
    run_candidate(candidate, call);
    if (candidate.chosen) candidate.chosen();
    const BatchMoments expected = ops::batch_moments(call.y);
    check_close(call.moments.mean, expected.mean, tolerance(kFloat32, 50));
    check_close(call.moments.var, expected.var, tolerance(kFloat32, 50));
    for (const auto& own : candidates) {
      if (own.name == "implicit gemm") CHECK((candidate.rank > own.rank) == sums);
    }
  }
  CHECK(with_sums == (dtype == kFloat32 ? 0 : 2));
  CHECK(fake.plan_files().size() == (dtype == kFloat32 ? 1 : 2));  // a plan with sums is another plan
  CHECK(std::count_if(fake.state->asked.begin(), fake.state->asked.end(), [](const auto& asked) {
          return std::get<ops::ConvPattern>(asked).sums;
        }) == (dtype == kFloat32 ? 0 : 1));
}

TEST_CASE("a prologue with ReLU reaches the library's engines, and others get its result") {
  if (!has_gpu()) return;
  const bool relu = GENERATE(true, false);
  std::vector<std::string> seen;
  FakeConvGuard fake;
  fake.state->compute = [&](const ops::EnginePattern& any, const ops::EngineOperands& operands, double) {
    using ops::Operand;
    const auto& pattern = std::get<ops::ConvPattern>(any);
    CHECK((operands.address(Operand::kScale) != nullptr) == pattern.affine_relu);
    CHECK((operands.address(Operand::kShift) != nullptr) == pattern.affine_relu);
    seen.push_back(std::string(pattern.affine_relu ? "fused" : "plain") + (pattern.sums ? ", sums" : ""));
  };
  const Device device("cuda");
  const auto conv = ops::conv2d_geometry("test", {1, 8, 3, 3}, {8, 8, 1, 1}, {});
  const auto make = [&](const Shape& shape, DType dtype) {
    return ops::contiguous(random_tensor(shape, dtype).to(device),
                           shape.size() == 4 ? kChannelsLast : kContiguous);
  };
  const ops::Conv2dCall call = {.pass = Conv2dPass::kForward,
                                .conv = conv,
                                .x = make({1, 8, 3, 3}, kFloat16),
                                .weight = make({8, 8, 1, 1}, kFloat16),
                                .y = make({1, 8, 3, 3}, kFloat16),
                                .prologue = {make({8}, kFloat32), make({8}, kFloat32), relu},
                                .moments = {make({8}, kFloat32), make({8}, kFloat32)}};
  for (const auto& candidate : ops::conv2d_gpu_algorithms(call)) {
    if (candidate.name.starts_with("fakednn")) run_candidate(candidate, call);
  }
  std::vector<std::string> expected = {"plain", "plain, sums"};
  if (relu) expected = {"plain", "fused", "plain, sums", "fused, sums"};
  CHECK(seen == expected);
}

TEST_CASE("the library's sums that lose a variance give 0, and no NaN") {
  if (!has_gpu()) return;
  const Device device("cuda");
  const gpu::DeviceGuard guard(device.index);
  const auto row = [&](std::vector<float> values) { return from_vector(values).to(device); };
  const BatchMoments moments = {empty({3}, {.device = device}), empty({3}, {.device = device})};
  // Of 4 values: 1, 2, 3 and 4; 1000 each, the squares' sum rounded down; 0.
  ops::finish_statistics_gpu(ops::ChannelSums{row({10, 4000, 0}), row({30, 3999999, 0})}, 4,
                             {.mean = moments.mean, .var = moments.var});
  CHECK(ops::to_vector<float>(moments.mean) == std::vector<float>{2.5F, 1000, 0});
  CHECK(ops::to_vector<float>(moments.var) == std::vector<float>{1.25F, 0, 0});
}

TEST_CASE("TF32 convolutions are asked for as the setting says", "[tf32]") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  convolve();
  set_allow_tf32_conv(false);
  convolve();
  set_allow_tf32_conv(true);
  REQUIRE(fake.state->asked.size() == 2);
  CHECK(std::get<ops::ConvPattern>(fake.state->asked[0]).allow_tf32);
  CHECK_FALSE(std::get<ops::ConvPattern>(fake.state->asked[1]).allow_tf32);
}

TEST_CASE("a convolution that the library does not support, or is not asked for, takes an own kernel") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers.clear();
  const Warnings warnings;
  convolve();
  CHECK(decision().winner == "implicit gemm");
  CHECK(fake.state->asked.size() == 1);
  ops::conv2d(random_tensor({1, 2, 3, 3}).to(kCUDA), random_tensor({2, 2, 3, 3}).to(kCUDA));  // f64
  CHECK(fake.state->asked.size() == 1);
  CHECK(warnings.texts.empty());
}

TEST_CASE("a convolution library that fails when asked is warned of, and an own kernel computes") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->fails = true;
  const Warnings warnings;
  for (int i = 0; i < 3; ++i) convolve();
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0],
             Catch::StartsWith("conv2d forward") && Catch::Contains("fakednn: internal error"));
}

TEST_CASE("a missing or older convolution library is named once") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  int loads = 0;
  ops::set_engine_library_loader(ops::VendorLibrary::kCudnn, [&]() -> std::unique_ptr<ops::EngineLibrary> {
    ++loads;
    fail("cuDNN 9.1.0 is too old: Taper needs 9.2.0");
  });
  const Warnings warnings;
  for (int i = 0; i < 3; ++i) {
    algorithm_cache().clear();
    convolve();
  }
  CHECK(loads == 1);
  CHECK(warnings.texts ==
        std::vector<std::string>{"cuDNN 9.1.0 is too old: Taper needs 9.2.0; convolutions and batch norm "
                                 "use Taper's own kernels"});
}

TEST_CASE("engines: beyond the workspace limit another is taken, else it gets what it asked for") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {{.name = "huge", .workspace_bytes = size_t(2) << 30},
                        {.name = "some", .workspace_bytes = 4096}};
  convolve();
  CHECK(decision().winner == "fakednn 1.0 some");
  CHECK(fake.state->count("build huge") == 0);
  algorithm_cache().clear();
  algorithm_cache().set_workspace_limit(1000);
  convolve();
  algorithm_cache().set_workspace_limit(size_t(1) << 30);
  CHECK(decision().winner == "implicit gemm");
}

TEST_CASE("where bits must be equal, engines that are not deterministic are left out") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {{.name = "atomics", .deterministic = false}, {.name = "ordered"}};
  convolve();
  CHECK(decision().winner == "fakednn 1.0 atomics");
  algorithm_cache().set_mode(AlgorithmMode::kDeterministic);
  convolve();
  CHECK(decision().winner == "fakednn 1.0 ordered");
}

TEST_CASE("an engine that cannot be built, or run, is rejected, and the next one computes") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {
      {.name = "unbuildable", .fails_to_build = true}, {.name = "refuses", .fails_to_run = true}, {}};
  const Warnings warnings;
  for (int i = 0; i < 2; ++i) convolve();
  CHECK(fake.state->log == std::vector<std::string>{"build unbuildable", "build refuses", "build naive",
                                                    "run naive", "run naive"});
  REQUIRE(warnings.texts.size() == 2);
  CHECK_THAT(warnings.texts[0], Catch::EndsWith("unbuildable is rejected: fakednn: cannot build"));
  CHECK_THAT(warnings.texts[1], Catch::EndsWith("refuses is rejected: fakednn: not supported"));
}

TEST_CASE("measuring engines: those that fail are out of the race, wrong ones are rejected") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {{.name = "refuses", .fails_to_run = true}, {.name = "wrong", .factor = 1.1}, {}};
  fake.start_process(AlgorithmMode::kBenchmark);
  algorithm_cache().set_verify(true);
  const Warnings warnings;
  convolve();
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("fakednn 1.0 wrong is rejected: wrong result"));
  for (const AlgorithmTiming& timing : decision().candidates) {
    const bool is_out = timing.name == "fakednn 1.0 refuses" || timing.name == "fakednn 1.0 wrong";
    CHECK(timing.rejected.empty() != is_out);
  }
  CHECK(decision().verified);
}

namespace {

/// A process in which the engine "best" takes over from one that fails, and stays chosen; then another
/// begins.
void choose_best(FakeGuard& fake) {
  fake.state->offers = {{.name = "second", .compiles = true, .fails_to_run = true},
                        {.name = "best", .compiles = true},
                        {.name = "third", .compiles = true, .fails_to_run = true}};
  fake.start_process();
  const Warnings warnings;  // of "second"
  convolve();
  CHECK(decision().winner == "fakednn 1.0 best");
  REQUIRE(fake.plan_files().size() == 1);
  fake.state->offers.erase(fake.state->offers.begin());
  fake.start_process();
}

}  // namespace

TEST_CASE("a second process loads the compiled plan that the first has kept, and builds none") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  choose_best(fake);
  const Warnings warnings;
  for (int i = 0; i < 2; ++i) convolve();
  CHECK(fake.state->log == std::vector<std::string>{"load best", "run best", "run best"});
  CHECK(fake.plan_files().size() == 1);
  CHECK(warnings.texts.empty());
}

TEST_CASE("a measured choice is recalled by a second process, which builds only that engine") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {{.name = "a"}, {.name = "b"}, {.name = "c", .compiles = true}};
  fake.start_process(AlgorithmMode::kBenchmark);
  convolve();
  const std::string winner = decision().winner;
  for (const char* name : {"build a", "build b", "build c"}) CHECK(fake.state->count(name) == 1);
  const bool kept = winner == "fakednn 1.0 c";
  CHECK(fake.plan_files().size() == (kept ? 1 : 0));  // what is built in no time is not worth a file

  fake.start_process(AlgorithmMode::kBenchmark);
  const AlgorithmStatistics before = algorithm_cache().statistics();
  convolve();
  CHECK(algorithm_cache().statistics().recalled == before.recalled + 1);
  CHECK(algorithm_cache().statistics().benchmarked == before.benchmarked);
  CHECK(decision().winner == winner);
  const bool own = !winner.starts_with("fakednn");
  CHECK(fake.state->log.size() == (own ? 0 : 2));
  if (!own) {
    const std::string name = winner.substr(winner.size() - 1);
    CHECK(fake.state->log == std::vector<std::string>{(kept ? "load " : "build ") + name, "run " + name});
  }
}

TEST_CASE("in benchmark mode all plans are made before the first of them runs, unless their time is over") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  fake.state->offers = {{.name = "a"}, {.name = "b", .fails_to_build = true}, {.name = "c"}};
  fake.start_process(AlgorithmMode::kBenchmark);
  convolve();
  const std::vector<std::string>& log = fake.state->log;
  const auto first_run =
      std::find_if(log.begin(), log.end(), [](const std::string& line) { return line.starts_with("run"); });
  CHECK(std::vector<std::string>(log.begin(), first_run).size() == 3);
  CHECK(fake.state->count("run b") == 0);

  fake.start_process(AlgorithmMode::kBenchmark);
  std::filesystem::remove(algorithm_cache().file_path());
  algorithm_cache().set_benchmark_limits({.seconds_in_all = 1e-9});
  const ThreadsGuard one_after_another(1);
  convolve();
  algorithm_cache().set_benchmark_limits({});
  CHECK(fake.state->count("build c") == 0);
  CHECK(algorithm_cache().statistics().left_out > 0);
}

TEST_CASE("a kept plan that is damaged, or that the library refuses, is set aside and built again") {
  if (!has_gpu()) return;
  FakeConvGuard fake;
  choose_best(fake);
  const std::filesystem::path file = fake.plan_files()[0];
  SECTION("cut short") {
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  }
  SECTION("empty") {
    std::filesystem::resize_file(file, 0);
  }
  SECTION("another's") {
    std::fstream bytes(file, std::ios::in | std::ios::out);
    bytes << "TAPER";
  }
  SECTION("refused") {
    fake.state->refuses_to_load = true;
  }
  const Warnings warnings;
  convolve();
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("this plan cannot be used") && Catch::Contains(".damaged"));
  CHECK(fake.state->count("build best") == 1);
  CHECK(fake.plan_files().size() == 2);  // the new one, and what was set aside

  fake.start_process();
  fake.state->refuses_to_load = false;
  convolve();
  CHECK(fake.state->log == std::vector<std::string>{"load best", "run best"});
  CHECK(warnings.texts.size() == 1);
}
