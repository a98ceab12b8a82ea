// Every candidate of the matrix product computes the same, and the cache finds them.

#include <optional>
#include <utility>

#include "candidate_outputs.h"
#include "taper/core/base/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/matmul/matmul_cpu.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;

namespace {

/// Returns the sum over k of a[i, k] b[k, j], plus beta c, in f64.
Tensor reference(const ops::MatmulCall& call) {
  const int64_t m = call.c.size(0), n = call.c.size(1), k = call.a.size(1);
  const auto a = ops::to_vector<double>(call.a), b = ops::to_vector<double>(call.b),
             c = ops::to_vector<double>(call.c);
  std::vector<double> result(size_t(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += a[size_t(i * k + l)] * b[size_t(l * n + j)];
      result[size_t(i * n + j)] = sum + (call.beta == 0 ? 0 : call.beta * c[size_t(i * n + j)]);
    }
  }
  return from_vector(result, {m, n});
}

/// `transposed_b`: the columns of b are contiguous, like the weight's in linear().
ops::MatmulCall matmul_call(int64_t m, int64_t k, int64_t n, DType dtype, double beta, bool transposed_b,
                            std::optional<DType> result_dtype = {}) {
  const DType result = result_dtype.value_or(dtype);
  const Tensor a = random_tensor({m, k}, dtype, 1);
  const Tensor b = transposed_b ? views::transpose(random_tensor({n, k}, dtype, 2), 0, 1)
                                : random_tensor({k, n}, dtype, 2);
  const Tensor c = beta == 0 ? empty({m, n}, {.dtype = result}) : random_tensor({m, n}, result, 3);
  return {a, b, c, beta};
}

const Algorithm& find(const std::vector<Algorithm>& candidates, const std::string& name) {
  for (const auto& candidate : candidates)
    if (candidate.name == name) return candidate;
  FAIL("no candidate " << name);
  return candidates[0];
}

}  // namespace

TEST_CASE("all candidates of matmul agree with f64, for any number of threads") {
  const PoisonedMemory poison;
  const AlgorithmMode mode = algorithm_cache().mode();
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);  // Eigen is listed where it is measured
  int dot_products = 0, eigen = 0;
  const std::pair<DType, DType> dtypes[] = {{kFloat32, kFloat32},   {kFloat64, kFloat64},
                                            {kBFloat16, kBFloat16}, {kBFloat16, kFloat32},
                                            {kFloat16, kFloat16},   {kFloat16, kFloat32}};
  for (const auto& [dtype, result] : dtypes) {
    for (const auto [m, k, n] : {std::array<int64_t, 3>{1, 2048, 100},
                                 {100, 2048, 1},
                                 {1, 1, 1},
                                 {3, 31, 17},
                                 {7, 33, 300},
                                 {300, 65, 5},
                                 {500, 300, 200},
                                 {50, 200, 1700},
                                 {33, 1030, 70},
                                 {4, 0, 3}}) {
      for (const double beta : {0., 1., -0.5}) {
        for (const bool transposed_b : {false, true}) {
          const ops::MatmulCall call = matmul_call(m, k, n, dtype, beta, transposed_b, result);
          const Tensor expected = reference(call), before = ops::clone(call.c);
          for (const auto& candidate : ops::matmul_cpu_algorithms(call)) {
            if (!candidate.supported) continue;
            INFO(candidate.name << " " << call.problem().str());
            dot_products += candidate.name == "dot products";
            eigen += candidate.name.starts_with("eigen");
            ops::copy_(call.c, before);
            run_candidate(candidate, call);
            check_close(call.c, expected, tolerance(result, std::max<int64_t>(k, 1)),
                        std::sqrt(double(k)) + 1);
            const Tensor one = ops::clone(call.c);
            const ThreadsGuard threads(num_threads() + 2);
            ops::copy_(call.c, before);
            run_candidate(candidate, call);
            CHECK(ops::to_vector<double>(call.c) == ops::to_vector<double>(one));
          }
        }
      }
    }
  }
  CHECK(dot_products > 0);
  CHECK(eigen > 0);
  algorithm_cache().set_mode(mode);
}

TEST_CASE("Eigen's product is offered only where candidates are measured") {
  const auto call = matmul_call(20, 30, 40, kFloat32, 0, true);
  const AlgorithmMode mode = algorithm_cache().mode();
  for (const AlgorithmMode other : {AlgorithmMode::kHeuristic, AlgorithmMode::kDeterministic}) {
    algorithm_cache().set_mode(other);
    CHECK(ops::matmul_cpu_algorithms(call).size() == 2);
  }
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  const auto list = ops::matmul_cpu_algorithms(call);
  CHECK(list.size() == 3);
  for (size_t i = 2; i < list.size(); ++i) {
    INFO(list[i].name);
    CHECK(list[i].name.find_first_of("0123456789") != std::string::npos);  // the library's version
    CHECK(list[i].rank > list[0].rank);
    CHECK(list[i].rank > list[1].rank);
  }
  algorithm_cache().set_mode(mode);
}

TEST_CASE("Eigen multiplies batches, with operands that repeat") {
  const AlgorithmMode mode = algorithm_cache().mode();
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  const Tensor a = random_tensor({3, 40, 50}, kFloat32, 1);
  const Tensor b = views::expand(random_tensor({50, 60}, kFloat32, 2), {3, 50, 60});
  const ops::MatmulCall call{a, b, empty({3, 40, 60})};
  Tensor first;
  for (const auto& candidate : ops::matmul_cpu_algorithms(call)) {
    if (!candidate.supported) continue;
    INFO(candidate.name);
    ops::copy_(call.c, ops::full(call.c.shape(), std::nan("")));
    run_candidate(candidate, call);
    if (!first.defined()) first = ops::clone(call.c);
    check_close(call.c, first, 2 * tolerance(kFloat32, 50));
  }
  algorithm_cache().set_mode(mode);
}

TEST_CASE("what a candidate of matmul supports, and where it is expected to be best") {
  const auto candidates = [](const ops::MatmulCall& call) { return ops::matmul_cpu_algorithms(call); };
  const auto dots = [&](const ops::MatmulCall& call) { return find(candidates(call), "dot products"); };
  const auto packed = [&](const ops::MatmulCall& call) { return find(candidates(call), "packed"); };
  const auto one_image = matmul_call(1, 2048, 1000, kFloat32, 0, true);
  CHECK(dots(one_image).supported);
  CHECK(dots(one_image).rank < packed(one_image).rank);
  const auto a_batch = matmul_call(256, 2048, 1000, kFloat32, 0, true);
  CHECK(dots(a_batch).supported);
  CHECK(dots(a_batch).rank > packed(a_batch).rank);
  CHECK_FALSE(dots(matmul_call(4, 20, 30, kFloat32, 0, false)).supported);
  const ops::MatmulCall batch{empty({2, 3, 4}), views::transpose(empty({2, 5, 4}), -2, -1), empty({2, 3, 5})};
  CHECK_FALSE(dots(batch).supported);
  CHECK(packed(batch).supported);
}

TEST_CASE("matmul goes through the algorithm cache") {
  const auto call = matmul_call(1, 777, 13, kFloat32, 0, true);
  const auto decided = [&] {
    for (const AlgorithmRecord& record : algorithm_cache().decisions())
      if (record.problem == call.problem().str()) return record.winner;
    return std::string();
  };
  CHECK(decided().empty());
  ops::matmul_cpu(call.a, call.b, 0, call.c);
  CHECK(decided() == "dot products");
  check_close(call.c, reference(call), tolerance(kFloat32, 777), std::sqrt(777.));
}
