// Every candidate for each convolution of ResNet-50, forward and both gradients, as the algorithm cache
// measures it: the per-layer table of scripts/gpu_race.py, beside pytorch_layers.py.
//
//   resnet50_layers --device cuda --batch 256 --size 224 --dtype bf16 --json layers.json

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "bench/resnet50_layers.h"
#include "taper/core/base/median.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/program.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/conv/conv2d.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/random/random.h"

using namespace taper;
using Json = nlohmann::json;

namespace {

struct Options {
  std::string device = "cuda", dtype = "bf16", filter, json;
  int64_t batch = 256, size = 224;
  int repeats = 11;
};

DType dtype_of(const std::string& name) {
  if (name == "tf32") return kFloat32;
  for (const DType dtype : {kFloat32, kFloat16, kBFloat16}) {
    if (fmt::format("{}", dtype) == name) return dtype;
  }
  fail("--dtype {}: use f32, tf32, f16 or bf16", name);
}

Tensor random_images(const Shape& shape, DType dtype, Device device) {
  return ops::contiguous(ops::cast(ops::randn(shape, {.device = device}), dtype), kChannelsLast);
}

/// Returns the milliseconds that `compute` takes as a program calls it: the median of `repeats`.
template <class Compute>
double median_ms(Device device, int repeats, Compute&& compute) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    if (device.is_cpu()) {
      const auto start = std::chrono::steady_clock::now();
      compute();
      times.push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    } else {
      gpu::Event start(gpu::EventTiming::kOn), end(gpu::EventTiming::kOn);
      start.record();
      compute();
      end.record();
      end.synchronize();
      times.push_back(double(end.elapsed_ms(start)));
    }
  }
  return median(std::move(times));
}

/// Returns how long `compute` takes with the candidate that the cache chose, and how long the others took:
/// {"ms": milliseconds, "winner": name, "candidates": [{"name", "ms" or "rejected"}]}.
template <class Compute>
Json measure(Device device, int repeats, Compute&& compute) {
  algorithm_cache().clear();
  compute();
  for (const AlgorithmRecord& record : algorithm_cache().decisions()) {
    if (!record.problem.starts_with("conv2d ")) continue;  // a candidate may consist of ops that choose too
    Json candidates = Json::array();
    for (const AlgorithmTiming& timing : record.candidates) {
      Json& entry = candidates.emplace_back(Json{{"name", timing.name}});
      if (!timing.rejected.empty()) entry["rejected"] = timing.rejected;
      if (timing.median_ms > 0) entry["ms"] = timing.median_ms;
    }
    return {
        {"ms", median_ms(device, repeats, compute)}, {"winner", record.winner}, {"candidates", candidates}};
  }
  fail("the algorithm cache decided nothing about a convolution");
}

Json measure_layer(const ResnetLayer& layer, const Options& options) {
  const Device device(options.device);
  const DType dtype = dtype_of(options.dtype);
  const int64_t in = layer.input_size(options.size), out = layer.output_size(options.size);
  const Conv2dOptions conv = {.stride = layer.stride, .padding = layer.padding()};
  const Tensor x = random_images({options.batch, layer.in, in, in}, dtype, device);
  const Tensor weight = random_images({layer.out, layer.in, layer.kernel, layer.kernel}, dtype, device);
  const Tensor grad = random_images({options.batch, layer.out, out, out}, dtype, device);
  const auto timed = [&](auto compute) { return measure(device, options.repeats, compute); };
  return {
      {"name", layer.name},
      {"count", layer.count},
      {"in", layer.in},
      {"out", layer.out},
      {"kernel", layer.kernel},
      {"stride", layer.stride},
      {"padding", layer.padding()},
      {"input_size", in},
      {"flops", 2. * double(grad.numel() * layer.in * layer.kernel * layer.kernel)},
      {"bytes", x.size_bytes() + weight.size_bytes() + grad.size_bytes()},
      {"passes",
       {{"forward", timed([&] { ops::conv2d(x, weight, {}, conv); })},
        {"backward_input", timed([&] { ops::conv2d_backward_input(grad, weight, x.shape(), conv); })},
        {"backward_weight", timed([&] { ops::conv2d_backward_weight(grad, x, weight.shape(), conv); })}}}};
}

void run(const Options& options) {
  AtomicFile::check(options.json);  // before the work, not after
  set_allow_tf32_conv(options.dtype == "tf32");
  set_allow_tf32_matmul(options.dtype == "tf32");
  algorithm_cache().set_file("");  // measure again, whatever was measured before
  algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  Json layers = Json::array();
  fmt::print("{:<24}{:>12}{:>12}{:>12}  ms, {} images of {} px, {}\n", "", "forward", "d input", "d weight",
             options.batch, options.size, options.dtype);
  for (const ResnetLayer& layer : kResnet50Layers) {
    if (std::string_view(layer.name).find(options.filter) == std::string_view::npos) continue;
    const Json& measured = layers.emplace_back(measure_layer(layer, options));
    const Json& passes = measured["passes"];
    fmt::print("{:<24}{:>12.3f}{:>12.3f}{:>12.3f}  {} | {} | {}\n", layer.name,
               passes["forward"]["ms"].get<double>(), passes["backward_input"]["ms"].get<double>(),
               passes["backward_weight"]["ms"].get<double>(), passes["forward"]["winner"].get<std::string>(),
               passes["backward_input"]["winner"].get<std::string>(),
               passes["backward_weight"]["winner"].get<std::string>());
    std::fflush(stdout);
  }
  write_file_atomically(
      options.json,
      Json{{"batch", options.batch}, {"size", options.size}, {"dtype", options.dtype}, {"layers", layers}}
          .dump(1));
}

}  // namespace

int main(int argc, char** argv) {
  start_program("resnet50_layers");
  Options options;
  CLI::App app("Times every way to compute ResNet-50's convolutions.");
  app.add_option("--device", options.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--batch", options.batch, "images")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--size", options.size, "their height and width; at least 32")
      ->check(CLI::Range(32, 4096))
      ->capture_default_str();
  app.add_option("--dtype", options.dtype, "f32, tf32 (libraries may round products to it), f16 or bf16")
      ->capture_default_str();
  app.add_option("--filter", options.filter, "only layers with this in their name, as 3x3 or layer4");
  app.add_option("--repeats", options.repeats, "timings of each convolution")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--json", options.json, "the file to write")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
}
