// How many images a second one core turns into the network's input, step by step, and how the loader adds
// cores. The images are JPEG files of 500 x 375 pixels and 84 KB, 224 pixels out, much like ImageNet's.

#include <benchmark/benchmark.h>

#include <thread>

#include "../tests/support/images.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/program.h"
#include "taper/core/philox.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/data/loader.h"
#include "taper/ops/image/normalize_images.h"

using namespace taper;

namespace {

// Waves with grain on top, so that the file is as large as a photograph's.
Image photograph(int seed) {
  Image image = test_image(500, 375, seed);
  RandomStream random(uint64_t(seed), RandomPurpose::kPixels, 0, 0);
  for (uint8_t& pixel : image.pixels) pixel = uint8_t(pixel * 3 / 4 + random.below(40));
  return image;
}

const std::vector<uint8_t>& jpeg_file() {
  static const auto bytes = jpeg_bytes(photograph(0), 88);
  return bytes;
}

void count_images(benchmark::State& state) {
  state.counters["images/s"] = benchmark::Counter(double(state.iterations()), benchmark::Counter::kIsRate);
}

void decode(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(decode_image(jpeg_file(), "image"));
  count_images(state);
  state.counters["file_bytes"] = double(jpeg_file().size());
}
BENCHMARK(decode);

void transform(benchmark::State& state, const ImageTransform& transform) {
  const Image image = decode_image(jpeg_file(), "image");
  uint64_t index = 0;
  for (auto _ : state) {
    RandomStream random(0, RandomPurpose::kAugment, 0, index++);
    benchmark::DoNotOptimize(transform.apply(image, random));
  }
  count_images(state);
}
BENCHMARK_CAPTURE(transform, evaluation, evaluation_transform(224));
BENCHMARK_CAPTURE(transform, training, training_transform(224));

void normalize(benchmark::State& state) {
  set_num_threads(1);
  const Tensor pixels = empty({64, 224, 224, 3}, {.dtype = kUInt8});
  std::fill_n(pixels.data<uint8_t>(), pixels.numel(), uint8_t(128));
  for (auto _ : state) benchmark::DoNotOptimize(ops::normalize_images(pixels));
  state.counters["images/s"] =
      benchmark::Counter(64 * double(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(normalize);

// From files on disk (which the system has cached) to batches of 64, with state.range(0) workers.
void loader(benchmark::State& state, const ImageTransform& transform) {
  const TemporaryFolder folder;
  for (int i = 0; i < 256; ++i) write_file(folder / ("class/" + std::to_string(i) + ".jpg"), jpeg_file());
  DataLoader loader(std::make_shared<ImageFolderDataset>(folder.path()), transform,
                    {.batch_size = 64, .shuffle = true, .workers = int(state.range(0))});
  int64_t epoch = 0, images = 0;
  for (auto _ : state) {
    loader.start(epoch++);
    while (const auto batch = loader.next()) images += batch->size();
  }
  state.counters["images/s"] = benchmark::Counter(double(images), benchmark::Counter::kIsRate);
}
void worker_counts(benchmark::internal::Benchmark* bench) {
  bench->Arg(0);
  for (unsigned workers = 1; workers <= std::thread::hardware_concurrency(); workers *= 2)
    bench->Arg(workers);
  bench->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(loader, evaluation, evaluation_transform(224))->Apply(worker_counts);
BENCHMARK_CAPTURE(loader, training, training_transform(224))->Apply(worker_counts);

}  // namespace

int main(int argc, char** argv) {
  start_program("loader_bench");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
