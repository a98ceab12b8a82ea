// What cuDNN offers for ResNet-50's convolutions and batch norms on an H200. The real library answers on any
// machine: since 9.8 it lists engines and builds plans for a device that is only described. So cuDNN is known
// to understand the graphs of ops/vendor before a GPU sees them.

#include <dlfcn.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "bench/resnet50_layers.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/vendor/engine_library.h"

using namespace taper;
using ops::Conv2dPass;

namespace {

constexpr const char* kH200 = R"({
  "deviceName": "NVIDIA H200", "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0, "pciDeviceId": 0,
  "isTccDriver": 0, "supportCoopLaunch": 1, "multiProcessorCount": 132, "warpSize": 32,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "maxCtasPerSM": 32,
  "regsPerBlock": 65536, "maxRegistersPerSM": 65536,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
  "totalGlobalMem": 150754820096, "l2CacheSize": 62914560, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000
})";

/// Returns the library; null, with a message, if it cannot be opened.
std::unique_ptr<ops::EngineLibrary> cudnn_for_h200() {
  try {
    return ops::load_cudnn(kH200);
  } catch (const Error& error) {
    WARN(error.what());
    return nullptr;
  }
}

/// cuDNN lists engines that are compiled at run time only where it finds the driver's library. Without a
/// driver, the toolkit's stand-in for linkers is enough. Returns false, with a message, if there is neither.
bool open_driver() {
  gpu::device_count();  // so that it has been asked for without the stand-in
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  if (dlopen(TAPER_CUDA_DRIVER_STUB, RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  WARN(dlerror());
  return false;
}

ops::ConvPattern pattern_of(const ResnetLayer& layer, Conv2dPass pass, DType dtype, bool allow_tf32,
                            bool fused) {
  const Shape input = {256, layer.in, layer.input_size(224), layer.input_size(224)};
  const Shape weight = {layer.out, layer.in, layer.kernel, layer.kernel};
  const Conv2dOptions options = {.stride = layer.stride, .padding = layer.padding()};
  return {.pass = pass,
          .conv = ops::conv2d_geometry("conv2d", input, weight, options),
          .dtype = dtype,
          .allow_tf32 = allow_tf32,
          .bias = fused,
          .residual = fused,
          .relu = fused};
}

struct Precision {
  const char* name;
  DType dtype;
  bool allow_tf32;
};

}  // namespace

TEST_CASE("cuDNN has engines for each of ResNet-50's convolutions on an H200, in all passes and precisions") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr) return;
  const auto precision = GENERATE(Precision{"bf16", kBFloat16, true}, Precision{"f16", kFloat16, true},
                                  Precision{"TF32", kFloat32, true}, Precision{"f32", kFloat32, false});
  for (const ResnetLayer& layer : kResnet50Layers) {
    for (const Conv2dPass pass :
         {Conv2dPass::kForward, Conv2dPass::kBackwardInput, Conv2dPass::kBackwardWeight}) {
      for (const bool fused : {false, true}) {
        if (fused && pass != Conv2dPass::kForward) continue;
        INFO(layer.name << ", pass " << int(pass) << ", " << precision.name << (fused ? ", fused" : ""));
        const auto engines =
            cudnn->engines(pattern_of(layer, pass, precision.dtype, precision.allow_tf32, fused));
        std::set<std::string> names;
        for (const ops::Engine& engine : engines) names.insert(engine.algorithm.name);
        CHECK(names.size() == engines.size());
        const auto any = [&](auto member) { return std::any_of(engines.begin(), engines.end(), member); };
        CHECK(any([](const ops::Engine& engine) { return engine.algorithm.deterministic; }));
        CHECK(any([](const ops::Engine& engine) { return engine.algorithm.epsilon > 0; }) ==
              (precision.dtype == kFloat32 && precision.allow_tf32));
      }
    }
  }
}

TEST_CASE("cuDNN has engines that take a prologue or give sums with ResNet-50's convolutions") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr || !open_driver()) return;
  const DType dtype = GENERATE(kBFloat16, kFloat16, kFloat32);
  int built = 0;
  for (const ResnetLayer& layer : kResnet50Layers) {
    for (const auto& [prologue, sums] : {std::pair(true, false), {false, true}, {true, true}}) {
      if (sums && dtype == kFloat32) continue;  // not asked for
      INFO(layer.name << ", " << name(dtype) << (prologue ? ", prologue" : "") << (sums ? ", sums" : ""));
      ops::ConvPattern pattern = pattern_of(layer, Conv2dPass::kForward, dtype, true, false);
      pattern.affine_relu = prologue;
      pattern.sums = sums;
      const auto engines = cudnn->engines(pattern);
      if (layer.in % 8 == 0) CHECK_FALSE(engines.empty());  // the first layer has 3 channels
      for (const ops::Engine& engine : engines) {
        if (built > 0 || engine.compiles) continue;  // compiling needs the driver itself
        const std::string serialized = engine.build()->serialized();
        CHECK(cudnn->load(serialized)->serialized() == serialized);
        ++built;
      }
    }
  }
  if (dtype == kFloat16) CHECK(built == 1);  // for the others, all engines of cuDNN 9.19 compile
}

TEST_CASE("cuDNN has engines that give the gradients of ResNet-50's weights in f32 from half types") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr || !open_driver()) return;
  const DType dtype = GENERATE(kBFloat16, kFloat16);
  for (const ResnetLayer& layer : kResnet50Layers) {
    if (layer.in % 8 != 0) continue;  // the first layer has 3 channels
    INFO(layer.name << ", " << name(dtype));
    ops::ConvPattern pattern = pattern_of(layer, Conv2dPass::kBackwardWeight, dtype, true, false);
    pattern.f32_result = true;
    CHECK_FALSE(cudnn->engines(pattern).empty());
  }
}

TEST_CASE("cuDNN has engines for each of ResNet-50's batch norms on an H200, with all that follows them") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr || !open_driver()) return;
  using ops::NormPass;
  const std::vector<ops::NormPattern> kinds = {
      {.pass = NormPass::kForward, .running = true},
      {.pass = NormPass::kForward, .relu = true, .running = true},
      {.pass = NormPass::kForward, .relu = true, .mask = true, .running = true},
      {.pass = NormPass::kForward, .residual = true, .relu = true, .mask = true, .running = true},
      {.pass = NormPass::kForward, .residual = true, .relu = true, .mask = true},
      {.pass = NormPass::kBackward},
      {.pass = NormPass::kBackward, .relu = true},
      {.pass = NormPass::kBackward, .residual = true, .relu = true}};
  const DType dtype = GENERATE(kBFloat16, kFloat16, kFloat32);
  std::set<std::string> seen;
  for (const ResnetLayer& layer : kResnet50Layers) {
    const int64_t size = layer.output_size(224);
    if (!seen.insert(fmt::format("{} {}", layer.out, size)).second) continue;
    for (ops::NormPattern pattern : kinds) {
      pattern.shape = {256, layer.out, size, size};
      pattern.dtype = dtype;
      INFO(layer.name << ", pass " << int(pattern.pass) << ", " << name(dtype) << ", residual "
                      << pattern.residual << ", relu " << pattern.relu << ", mask " << pattern.mask);
      const auto engines = cudnn->engines(pattern);
      CHECK(std::any_of(engines.begin(), engines.end(), [](const ops::Engine& engine) {
        return engine.algorithm.deterministic && engine.algorithm.workspace_bytes < (1 << 24);
      }));
    }
  }
}

TEST_CASE("cuDNN has no engine for a batch norm of half types whose channels are no multiple of 8") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr || !open_driver()) return;
  CHECK(cudnn->engines(ops::NormPattern{.shape = {2, 12, 5, 5}, .dtype = kBFloat16}).empty());
}

TEST_CASE("cuDNN builds plans for an H200, and loads what it serialised") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr) return;
  CHECK(cudnn->name().starts_with("cudnn 9."));
  for (const bool fused : {false, true}) {
    int built = 0;
    for (const ops::Engine& engine :
         cudnn->engines(pattern_of(kResnet50Layers[2], Conv2dPass::kForward, kBFloat16, true, fused))) {
      if (engine.compiles) continue;  // needs a driver
      INFO(engine.algorithm.name);
      const std::string serialized = engine.build()->serialized();
      CHECK(cudnn->load(serialized)->serialized() == serialized);
      ++built;
    }
    CHECK(built > 10);
  }
}

TEST_CASE("cuDNN refuses what is no plan and what is no device") {
  const auto cudnn = cudnn_for_h200();
  if (cudnn == nullptr) return;
  CHECK_THROWS_WITH(cudnn->load("{}"), Catch::Contains("cuDNN cannot load a plan"));
  CHECK_THROWS_WITH(ops::load_cudnn("{}"), Catch::Contains("cuDNN does not understand this description"));
}
