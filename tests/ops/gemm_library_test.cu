// Matrix products through a vendor's library: which arguments reach it, and how its algorithms are chosen,
// refused, rejected and remembered. The library is a naive one of the test's own that computes as BLAS
// libraries do, column by column; what is above it runs as with cuBLASLt.

#include <catch2/catch.hpp>

#include "taper/core/gpu/launch.h"
#include "taper/core/tf32.h"
#include "taper/core/views.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/gemm/gemm_call.h"
#include "taper/ops/matmul/matmul.h"
#include "tests/support/fake_library.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"
#include "tests/support/warnings.h"

using namespace taper;

namespace {

/// Addresses of a product's operands in device memory.
struct BlasPointers {
  const void *a, *b, *c, *bias;
  void* d;
};

/// One thread for each element of d; `factor` spoils the sum for a library that computes something else.
template <class T>
__global__ void naive_blas(ops::BlasGemm gemm, BlasPointers at, double factor) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, batch = blockIdx.y;
  if (index >= gemm.m * gemm.n) return;
  const int64_t i = index % gemm.m, j = index / gemm.m;
  const auto element = [&](const void* data, const ops::BlasMatrix& x, bool transpose, int64_t row,
                           int64_t col) {
    const int64_t offset = transpose ? row * x.ld + col : col * x.ld + row;
    return ops::device_cast<double>(static_cast<const T*>(data)[batch * x.batch_stride + offset]);
  };
  double sum = 0;
  for (int64_t l = 0; l < gemm.k; ++l)
    sum += element(at.a, gemm.a, gemm.transpose_a, i, l) * element(at.b, gemm.b, gemm.transpose_b, l, j);
  const int64_t index_of_d = batch * gemm.d.batch_stride + j * gemm.d.ld + i;
  if (gemm.c) sum += ops::device_cast<double>(static_cast<const T*>(at.c)[index_of_d]);
  if (gemm.bias)
    sum += ops::device_cast<double>(static_cast<const T*>(at.bias)[batch * gemm.bias_batch_stride + i]);
  sum *= factor;
  if (gemm.activation == Activation::kRelu && sum < 0) sum = 0;
  if (gemm.activation == Activation::kGeluTanh) {
    sum = sum / 2 * (1 + std::tanh(0.79788456080286535588 * (sum + 0.044715 * sum * sum * sum)));
  }
  if (gemm.f32_result) {
    static_cast<float*>(at.d)[index_of_d] = float(sum);
  } else {
    static_cast<T*>(at.d)[index_of_d] = ops::device_cast<T>(sum);
  }
}

/// While it lives, matrix products on the GPU see a library of the test's own.
class FakeBlasGuard : public FakeGuard {
 public:
  FakeBlasGuard()
      : FakeGuard([this](const ops::EnginePattern& pattern, const ops::EngineOperands& operands,
                         double factor) { compute(std::get<ops::BlasGemm>(pattern), operands, factor); },
                  ops::VendorLibrary::kCublaslt) {}

  std::vector<ops::BlasGemm> computed;

 private:
  void compute(const ops::BlasGemm& gemm, const ops::EngineOperands& operands, double factor) {
    using ops::Operand;
    computed.push_back(gemm);
    const BlasPointers at = {operands.address(Operand::kA), operands.address(Operand::kB),
                             operands.address(Operand::kC), operands.address(Operand::kBias),
                             operands.address(Operand::kD)};
    REQUIRE((gemm.c == (at.c != nullptr) && gemm.bias == (at.bias != nullptr)));
    ops::dispatch_device_float(gemm.dtype, [&]<class T>() {
      gpu::launch("naive_blas", naive_blas<T>,
                  {.grid = dim3(unsigned((gemm.m * gemm.n + 31) / 32), unsigned(gemm.batches)), .block = 32},
                  gemm, at, factor);
    });
  }
};

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

Tensor on_gpu(const Shape& shape, DType dtype, uint64_t seed) {
  return random_tensor(shape, dtype, seed).to(Device("cuda"));
}

/// A product of f32 matrices on the GPU, poisoned result.
ops::GemmCall small_call(int64_t m = 6, int64_t n = 5, int64_t k = 7) {
  static const Tensor a = on_gpu({64, 64}, kFloat32, 1), b = on_gpu({64, 64}, kFloat32, 2);
  return {.gemm = {.sizes = {.m = m, .n = n, .k = k},
                   .a = {.data = a.data_ptr(), .stride = 64},
                   .b = {.data = b.data_ptr(), .stride = 64},
                   .c = {.stride = n}},
          .c = empty({m, n}, {.device = kCUDA})};
}

bool is_right(const ops::GemmCall& call) {
  const Tensor expected = empty_like(call.c);
  ops::GpuGemm gemm = call.gemm;
  gemm.c.data = expected.data_ptr();
  ops::gemm_gpu("expected", gemm);
  const auto actual = ops::to_vector<double>(call.c), right = ops::to_vector<double>(expected);
  for (size_t i = 0; i < right.size(); ++i)
    if (!(std::fabs(actual[i] - right[i]) < 1e-5)) return false;
  return true;
}

std::string winner(const AlgorithmCache& cache) {
  REQUIRE(cache.decisions().size() == 1);
  return cache.decisions()[0].winner;
}

}  // namespace

TEST_CASE("every op that is a matrix product reaches the library, and its results are the op's") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat64, kFloat32, kFloat16, kBFloat16);
  FakeBlasGuard fake;
  const auto check = [&](const std::string& what, int64_t sum_length, auto&& op, std::vector<Tensor> inputs) {
    INFO(what << " " << name(dtype));
    fake.computed.clear();
    const Tensor expected = op(inputs);
    for (Tensor& input : inputs) input = input.defined() ? input.to(Device("cuda")) : input;
    const Tensor actual = op(inputs);
    REQUIRE(fake.computed.size() == 1);
    check_close(actual, expected, tolerance(dtype, sum_length), 1);
    return fake.computed[0];
  };
  const auto random = [&](const Shape& shape, uint64_t seed) { return random_tensor(shape, dtype, seed); };
  const auto matmul = [](const std::vector<Tensor>& in) { return ops::matmul(in[0], in[1]); };

  auto seen = check("matmul", 7, matmul, {random({5, 7}, 1), random({7, 3}, 2)});
  CHECK((seen.m == 3 && seen.n == 5 && seen.k == 7 && seen.batches == 1));
  CHECK((!seen.transpose_a && !seen.transpose_b));
  CHECK((seen.a.rows == 3 && seen.a.cols == 7 && seen.a.ld == 3));
  CHECK((seen.b.rows == 7 && seen.b.cols == 5 && seen.b.ld == 7));
  CHECK((seen.d.rows == 3 && seen.d.cols == 5 && seen.d.ld == 3));
  CHECK((!seen.bias && !seen.c && seen.activation == Activation::kNone));

  const auto transposed = [](const std::vector<Tensor>& in) {
    return ops::matmul(views::transpose(in[0], 0, 1), views::transpose(in[1], 0, 1));
  };
  seen = check("matmul, transposed operands", 7, transposed, {random({7, 5}, 1), random({3, 7}, 2)});
  CHECK((seen.transpose_a && seen.transpose_b));
  CHECK((seen.a.rows == 7 && seen.a.cols == 3 && seen.a.ld == 7));
  CHECK((seen.b.rows == 5 && seen.b.cols == 7 && seen.b.ld == 5));

  seen = check("matmul, a slice", 4,
               [](const std::vector<Tensor>& in) { return ops::matmul(views::slice(in[0], 1, 2, 6), in[1]); },
               {random({5, 9}, 1), random({4, 3}, 2)});
  CHECK(seen.b.ld == 9);

  const auto bmm = [](const std::vector<Tensor>& in) { return ops::bmm(in[0], in[1]); };
  seen = check("bmm", 4, bmm, {random({3, 2, 4}, 1), random({3, 4, 5}, 2)});
  CHECK((seen.batches == 3 && seen.a.batch_stride == 20 && seen.b.batch_stride == 8));
  CHECK(seen.d.batch_stride == 10);

  seen = check("matmul, one matrix times many", 4, matmul, {random({2, 4}, 1), random({6, 4, 5}, 2)});
  CHECK((seen.batches == 6 && seen.a.batch_stride == 20 && seen.b.batch_stride == 0));

  const auto linear = [](const std::vector<Tensor>& in) { return ops::linear(in[0], in[1], in[2]); };
  seen = check("linear", 6, linear, {random({2, 3, 6}, 1), random({4, 6}, 2), random({4}, 3)});
  CHECK((seen.m == 4 && seen.n == 6 && seen.k == 6 && seen.transpose_a && !seen.transpose_b));
  CHECK((seen.bias && seen.bias_batch_stride == 0));
  seen = check("linear without bias", 6, linear, {random({2, 6}, 1), random({4, 6}, 2), Tensor()});
  CHECK_FALSE(seen.bias);

  for (const int64_t groups : {1, 2}) {
    const Conv2dOptions options{.groups = groups};
    const Tensor x = random({2, 4, 3, 3}, 1), weight = random({6, 4 / groups, 1, 1}, 2),
                 bias = random({6}, 3), grad = random({2, 6, 3, 3}, 4);
    seen = check("conv2d 1x1", 4,
                 [&](const std::vector<Tensor>& in) { return ops::conv2d(in[0], in[1], in[2], options); },
                 {x, weight, bias});
    CHECK((seen.m == 6 / groups && seen.n == 18 && seen.k == 4 / groups && seen.batches == groups));
    CHECK((seen.transpose_a && !seen.transpose_b && seen.b.ld == 4 && seen.d.ld == 6 && seen.bias));
    if (groups > 1) {
      CHECK((seen.d.batch_stride == 3 && seen.b.batch_stride == 2 && seen.bias_batch_stride == 3));
    }
    seen = check("conv2d 1x1, input gradient", 6,
                 [&](const std::vector<Tensor>& in) {
                   return ops::conv2d_backward_input(in[0], in[1], x.shape(), options);
                 },
                 {grad, weight});
    CHECK((seen.m == 4 / groups && seen.n == 18 && seen.k == 6 / groups));
    CHECK((!seen.transpose_a && !seen.transpose_b));
    seen = check("conv2d 1x1, weight gradient", 18,
                 [&](const std::vector<Tensor>& in) {
                   return ops::conv2d_backward_weight(in[0], in[1], weight.shape(), options);
                 },
                 {grad, x});
    CHECK((seen.m == 4 / groups && seen.n == 6 / groups && seen.k == 18));
    CHECK((!seen.transpose_a && seen.transpose_b));
  }
}

TEST_CASE("f32 results of half types reach the library") {
  if (!has_gpu()) return;
  const PoisonedMemory poisoned;
  const DType dtype = GENERATE(kFloat16, kBFloat16);
  FakeBlasGuard fake;
  const Tensor grad = random_tensor({2, 6, 3, 3}, dtype, 1), x = random_tensor({2, 4, 3, 3}, dtype, 2),
               a = random_tensor({5, 7}, dtype, 3), b = random_tensor({7, 3}, dtype, 4);
  const auto check = [&](int64_t sum_length, auto&& op) {
    const size_t before = fake.computed.size();
    const Tensor actual = op(Device("cuda"));
    CHECK(actual.dtype() == kFloat32);
    check_close(actual, op(Device("cpu")), tolerance(kFloat32, sum_length), 1);
    REQUIRE(fake.computed.size() == before + 1);
    CHECK(fake.computed.back().dtype == dtype);
    CHECK(fake.computed.back().f32_result);
  };
  check(7, [&](Device d) { return ops::matmul(a.to(d), b.to(d), kFloat32); });
  check(18, [&](Device d) {
    return ops::conv2d_backward_weight(grad.to(d), x.to(d), {6, 4, 1, 1}, {}, kFloat32);
  });
  ops::matmul(a.to(Device("cuda")), b.to(Device("cuda")));
  CHECK_FALSE(fake.computed.back().f32_result);  // a choice of its own
}

TEST_CASE("a fused convolution's bias, residual and ReLU reach the library") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  const Tensor x = random_tensor({2, 4, 3, 3}, kFloat32, 1),
               weight = random_tensor({6, 4, 1, 1}, kFloat32, 2), bias = random_tensor({6}, kFloat32, 3),
               residual = random_tensor({2, 6, 3, 3}, kFloat32, 4);
  const auto run = [&](Device device) {
    return ops::conv2d_fused(x.to(device), weight.to(device),
                             {.bias = bias.to(device), .residual = residual.to(device), .relu = true});
  };
  check_close(run(Device("cuda")), run(Device("cpu")), tolerance(kFloat32, 4), 1);
  REQUIRE(fake.computed.size() == 1);
  const ops::BlasGemm& seen = fake.computed[0];
  CHECK((seen.c && seen.bias && seen.activation == Activation::kRelu));
}

TEST_CASE("a fused linear layer's activation reaches the library, and own kernels have it, too") {
  if (!has_gpu()) return;
  const DType dtype = GENERATE(kFloat32, kBFloat16);
  const Activation activation = GENERATE(Activation::kNone, Activation::kRelu, Activation::kGeluTanh);
  const bool with_library = GENERATE(true, false);
  INFO(name(dtype) << " " << name(activation) << (with_library ? ", library" : ", own kernel"));
  FakeBlasGuard fake;
  if (!with_library) fake.state->offers.clear();
  const Tensor x = random_tensor({5, 6}, dtype, 1), weight = random_tensor({4, 6}, dtype, 2),
               bias = random_tensor({4}, dtype, 3);
  const auto run = [&](Device device) {
    return ops::linear_fused(x.to(device), weight.to(device), bias.to(device), activation);
  };
  check_close(run(Device("cuda")), run(Device("cpu")), tolerance(dtype, 6), 1);
  REQUIRE(fake.computed.size() == (with_library ? 1 : 0));
  if (with_library) CHECK((fake.computed[0].bias && fake.computed[0].activation == activation));
}

TEST_CASE("TF32 is asked for as the settings say", "[tf32]") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  const Tensor a = on_gpu({4, 4}, kFloat32, 1), x = views::view(on_gpu({16}, kFloat32, 1), {1, 4, 2, 2}),
               weight = views::view(a, {4, 4, 1, 1});
  const auto asked = [&](auto&& op) {
    fake.computed.clear();
    op();
    return fake.computed.at(0).allow_tf32;
  };
  const auto matmul = [&] { ops::matmul(a, a); };
  const auto conv = [&] { ops::conv2d(x, weight); };
  CHECK_FALSE(asked(matmul));
  CHECK(asked(conv));
  set_allow_tf32_matmul(true);
  set_allow_tf32_conv(false);
  CHECK(asked(matmul));
  CHECK_FALSE(asked(conv));
  set_allow_tf32_matmul(false);
  set_allow_tf32_conv(true);
  CHECK(fake.state->asked.size() == 4);  // four problems
}

TEST_CASE("the library hears how well addresses are aligned, and they are part of the problem") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  ops::GemmCall call = small_call();
  ops::run_gemm("test", call);
  call.gemm.a.data = static_cast<float*>(call.gemm.a.data) + 4;
  ops::run_gemm("test", call);
  call.gemm.a.data = static_cast<float*>(call.gemm.a.data) + 1;
  ops::run_gemm("test", call);
  std::vector<int64_t> alignments;
  for (const auto& asked : fake.state->asked) alignments.push_back(std::get<ops::BlasGemm>(asked).alignment);
  CHECK(alignments == std::vector<int64_t>{256, 16, 4});
  CHECK(is_right(call));
}

TEST_CASE("a product that the library does not support, or cannot describe, takes an own kernel") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->offers.clear();
  const Warnings warnings;
  const ops::GemmCall call = small_call();
  ops::run_gemm("test", call);
  CHECK(is_right(call));
  CHECK(winner(algorithm_cache()) == "own kernel");
  CHECK(fake.state->asked.size() == 1);

  fake.state->offers = {{.name = "naive"}};
  const Tensor q = views::transpose(on_gpu({2, 4, 3, 5}, kFloat32, 1), 1, 2);  // heads, permuted
  const Tensor k = views::transpose(on_gpu({2, 4, 3, 5}, kFloat32, 2), 1, 2);
  ops::matmul(q, views::transpose(k, -2, -1));
  ops::matmul(on_gpu({3, 0}, kFloat32, 1), on_gpu({0, 4}, kFloat32, 1));
  CHECK(fake.state->asked.size() == 1);
  CHECK(fake.computed.empty());
  CHECK(warnings.texts.empty());
}

TEST_CASE("a library that fails when asked is warned of, and an own kernel computes") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->fails = true;
  const Warnings warnings;
  const ops::GemmCall call = small_call();
  for (int i = 0; i < 3; ++i) ops::run_gemm("test", call);
  CHECK(is_right(call));
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::StartsWith("gemm forward dtype=f32 m,n,k=6,5,7") &&
                                    Catch::Contains("fakednn: internal error"));
}

TEST_CASE("a missing or older library is named once") {
  if (!has_gpu()) return;
  const FakeBlasGuard fake;
  constexpr auto kCublaslt = ops::VendorLibrary::kCublaslt;
  int loads = 0;
  ops::set_engine_library_loader(kCublaslt, [&]() -> std::unique_ptr<ops::EngineLibrary> {
    ++loads;
    fail("cuBLASLt 12.9.1 cannot be used: this build was made for version 13");
  });
  const Warnings warnings;
  for (const int64_t m : {3, 4, 5}) {
    const ops::GemmCall call = small_call(m);
    ops::run_gemm("test", call);
    CHECK(is_right(call));
  }
  CHECK(loads == 1);
  CHECK(warnings.texts == std::vector<std::string>{"cuBLASLt 12.9.1 cannot be used: this build was made for "
                                                   "version 13; matrix products use Taper's own kernels"});
  ops::set_engine_library_loader(kCublaslt, {});
  algorithm_cache().clear();
  ops::run_gemm("test", small_call());
  CHECK(warnings.texts.size() == 1);  // a build without the library has nothing to say
}

TEST_CASE("workspaces: beyond the limit another algorithm is taken, else it gets what it asked for") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->offers = {{.name = "huge", .workspace_bytes = size_t(2) << 30},
                        {.name = "some", .workspace_bytes = 4096}};
  const ops::GemmCall call = small_call();
  ops::run_gemm("test", call);
  CHECK(is_right(call));
  CHECK(winner(algorithm_cache()) == "fakednn 1.0 some");
  algorithm_cache().clear();
  algorithm_cache().set_workspace_limit(1000);
  ops::run_gemm("test", call);
  algorithm_cache().set_workspace_limit(size_t(1) << 30);
  CHECK(winner(algorithm_cache()) == "own kernel");
}

TEST_CASE("where bits must be equal, algorithms that are not deterministic are left out") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->offers = {{.name = "in place", .deterministic = false}, {.name = "apart"}};
  const auto chosen = [&](AlgorithmMode mode) {
    AlgorithmCache cache;
    cache.set_mode(mode);
    cache.run(small_call(), ops::gemm_algorithms);
    return winner(cache);
  };
  CHECK(chosen(AlgorithmMode::kHeuristic) == "fakednn 1.0 in place");
  CHECK(chosen(AlgorithmMode::kDeterministic) == "fakednn 1.0 apart");
  fake.state->offers.pop_back();
  CHECK(chosen(AlgorithmMode::kDeterministic) == "own kernel");
}

TEST_CASE("an algorithm that the library refuses to run is rejected, and the next one computes") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->offers = {{.name = "bad", .fails_to_run = true}, {.name = "good"}};
  const Warnings warnings;
  const ops::GemmCall call = small_call();
  for (int i = 0; i < 2; ++i) ops::run_gemm("test", call);
  CHECK(is_right(call));
  CHECK(fake.state->count("run good") == 2);
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::EndsWith("fakednn 1.0 bad is rejected: fakednn: not supported"));

  // In benchmark mode it is out of the race before anything depends on it.
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(call, ops::gemm_algorithms);
  CHECK(is_right(call));
  CHECK(warnings.texts.size() == 1);
  const AlgorithmRecord record = cache.decisions()[0];
  for (const AlgorithmTiming& timing : record.candidates)
    CHECK(timing.rejected == (timing.name == "fakednn 1.0 bad" ? "fakednn: not supported" : ""));
}

TEST_CASE("verification rejects a library's wrong result") {
  if (!has_gpu()) return;
  FakeBlasGuard fake;
  fake.state->offers = {{.name = "wrong", .factor = 1.01}, {.name = "right"}};
  const Warnings warnings;
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_verify(true);
  const ops::GemmCall call = small_call();
  cache.run(call, ops::gemm_algorithms);
  CHECK(is_right(call));
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("fakednn 1.0 wrong is rejected: wrong result") &&
                                    Catch::Contains("against own kernel"));
}

TEST_CASE("what was measured with another version of the library does not count") {
  if (!has_gpu()) return;
  const TemporaryFolder folder;
  FakeBlasGuard fake;
  const auto measured = [&](const std::string& version) {
    fake.state->library_name = "fakednn " + version;
    AlgorithmCache cache;
    cache.set_file(folder / "algorithms.json");
    cache.set_mode(AlgorithmMode::kBenchmark);
    cache.run(small_call(), ops::gemm_algorithms);
    CHECK(cache.statistics().recalled + cache.statistics().benchmarked == 1);
    return cache.statistics().benchmarked == 1;
  };
  CHECK(measured("1.0"));
  CHECK_FALSE(measured("1.0"));
  CHECK(measured("1.1"));
  CHECK_FALSE(measured("1.1"));
}
