// Prints how many images per second ResNet-50 classifies on the CPU, as the median of some calls.
// bench/compare_pytorch_cpu.sh puts this number beside PyTorch's.
//
//   inference_bench SIZE BATCH CALLS THREADS [f32|bf16|fp16]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "taper/autograd/tape/autocast.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/serve/inference_form.h"
#include "taper/ops/copy/create.h"

using namespace taper;

int main(int argc, char** argv) {
  start_program("inference_bench");
  const std::string_view precision = argc == 6 ? argv[5] : "f32";
  if (argc < 5 || argc > 6 || (precision != "f32" && precision != "bf16" && precision != "fp16")) {
    fmt::print(stderr, "usage: inference_bench SIZE BATCH CALLS THREADS [f32|bf16|fp16]\n");
    return 2;
  }
  const int64_t size = std::atoll(argv[1]), batch = std::atoll(argv[2]), calls = std::atoll(argv[3]);
  set_num_threads(std::atoi(argv[4]));
  ResNet model = resnet50({.num_classes = 1000});
  model.eval();
  const InferenceForm form(model);
  std::optional<AutocastGuard> autocast;
  if (precision != "f32") autocast.emplace(kCPU, precision == "bf16" ? kBFloat16 : kFloat16);
  const Tensor images = ops::full({batch, 3, size, size}, 0.5, {.memory_format = kChannelsLast});
  std::vector<double> speeds;
  for (int64_t i = 0; i < calls + 2; ++i) {
    const auto start = std::chrono::steady_clock::now();
    form(images);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= 2) speeds.push_back(double(batch) / elapsed.count());
  }
  std::nth_element(speeds.begin(), speeds.begin() + int64_t(speeds.size()) / 2, speeds.end());
  fmt::print("{:.2f}\n", speeds[speeds.size() / 2]);
}
