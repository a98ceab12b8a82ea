// What an operation costs besides its arithmetic: the doorway (autograd/tape/tape.h), the result's memory,
// the tape. Operands are so small that their arithmetic is nothing.
//
// Each line is the least of many short rounds: on a busy machine a mean tells of the neighbours.

#include <benchmark/benchmark.h>

#include <algorithm>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"

using namespace taper;

namespace {

constexpr int kRounds = 40;
constexpr double kRoundSeconds = 0.01;

Tensor operand(const Shape& shape, bool wants_gradient) {
  return randn(shape).set_requires_grad(wants_gradient);
}

template <class Op>
void repeat(benchmark::State& state, const Op& op) {
  for (auto _ : state) benchmark::DoNotOptimize(op());
}

void addition(benchmark::State& state, bool taped) {
  const Tensor a = operand({4}, taped), b = operand({4}, taped);
  repeat(state, [&] { return a + b; });
}

void mul_sum_backward(benchmark::State& state) {
  const Tensor a = operand({4}, true), b = operand({4}, true);
  repeat(state, [&] {
    sum(a * b).backward();
    return a.grad();
  });
}

void product(benchmark::State& state, bool taped) {
  const Tensor a = operand({8, 8}, taped), b = operand({8, 8}, taped);
  repeat(state, [&] { return matmul(a, b); });
}

void viewing(benchmark::State& state, bool taped) {
  const Tensor a = operand({4}, taped);
  repeat(state, [&] { return a.view({2, 2}); });
}

void convolution(benchmark::State& state, bool taped) {
  const Tensor x = operand({1, 4, 4, 4}, taped).contiguous(kChannelsLast),
               weight = operand({4, 4, 1, 1}, taped);
  repeat(state, [&] { return conv2d(x, weight); });
}

double least(const std::vector<double>& seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}

template <class... Args>
void add_line(const char* name, Args... args) {
  benchmark::RegisterBenchmark(name, args...)
      ->MinTime(kRoundSeconds)
      ->Repetitions(kRounds)
      ->ComputeStatistics("least", least)
      ->DisplayAggregatesOnly();
}

}  // namespace

int main(int argc, char** argv) {
  start_program("op_overhead_bench");
  set_num_threads(1);
  add_line("a + b", addition, false);
  add_line("a + b, taped", addition, true);
  add_line("sum(a * b) and backward", mul_sum_backward);
  add_line("8x8 matmul", product, false);
  add_line("8x8 matmul, taped", product, true);
  add_line("view", viewing, false);
  add_line("view, taped", viewing, true);
  add_line("1x1 conv2d", convolution, false);
  add_line("1x1 conv2d, taped", convolution, true);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
