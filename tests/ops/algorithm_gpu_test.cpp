// The algorithm cache with work that is queued on a GPU: timed by events, compared on the host, and left
// alone while a graph is captured.

#include <vector>

#include "taper/core/base/warning.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/copy/copy.h"

using namespace taper;

namespace {

constexpr int64_t kSize = 1000;

/// y = x, both u8 on a GPU.
struct CopyCall {
  Tensor x, y;
  Problem problem() const { return Problem("copy", "forward", y.device()).add("x", x).add("y", y); }
  std::vector<Tensor*> outputs() { return {&y}; }
  gpu::Stream stream() const { return gpu::current_stream(y.device().index); }
  void copy(int64_t begin, int64_t size) const {
    gpu::copy_async(y.data<uint8_t>() + begin, x.data<uint8_t>() + begin, size_t(size),
                    gpu::CopyKind::kDeviceToDevice, stream());
  }
};

CopyCall copy_call() {
  const TensorOptions options{.dtype = kUInt8, .device = kCUDA};
  const CopyCall call{empty({kSize}, options), empty({kSize}, options)};
  gpu::fill_async(call.x.data_ptr(), 7, kSize, call.stream());
  gpu::fill_async(call.y.data_ptr(), 1, kSize, call.stream());
  return call;
}

void copy_whole(const CopyCall& call, void*) {
  call.copy(0, kSize);
}
void copy_pieces(const CopyCall& call, void*) {
  for (int64_t begin = 0; begin < kSize; begin += 4) call.copy(begin, 4);
}
void copy_half(const CopyCall& call, void*) {
  call.copy(0, kSize / 2);
}
void copy_by_workspace(const CopyCall& call, void* workspace) {
  gpu::copy_async(workspace, call.x.data_ptr(), kSize, gpu::CopyKind::kDeviceToDevice, call.stream());
  gpu::copy_async(call.y.data_ptr(), workspace, kSize, gpu::CopyKind::kDeviceToDevice, call.stream());
}

std::vector<Algorithm> pieces_or_whole(const CopyCall&) {
  return {{.name = "pieces", .rank = 1, .run = copy_pieces}, {.name = "whole", .rank = 2, .run = copy_whole}};
}

bool is_copied(const CopyCall& call) {
  return ops::to_vector<uint8_t>(call.y) == std::vector<uint8_t>(kSize, 7);
}

bool has_gpu() {
  if (gpu::device_count() > 0) return true;
  WARN("no GPU here");
  return false;
}

}  // namespace

TEST_CASE("on a GPU the fastest candidate is found by events") {
  if (!has_gpu()) return;
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  const gpu::StreamGuard guard(gpu::stream_from_pool(0));
  const CopyCall call = copy_call();
  cache.run(call, pieces_or_whole);
  CHECK(is_copied(call));
  const AlgorithmRecord record = cache.decisions()[0];
  CHECK(record.winner == "whole");
  CHECK(record.candidates[0].median_ms > record.candidates[1].median_ms);
  CHECK(record.candidates[1].median_ms > 0);
  CHECK(record.environment.starts_with(gpu::properties(0).name));
}

TEST_CASE("while a graph is captured the estimates decide, until something was measured") {
  if (!has_gpu()) return;
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  const gpu::Stream stream = gpu::stream_from_pool(0);
  const gpu::StreamGuard guard(stream);
  const auto captured_nodes = [&](const CopyCall& call) {
    stream.synchronize();
    gpu::begin_capture(stream);
    cache.run(call, pieces_or_whole);
    const gpu::Graph graph = gpu::end_capture(stream);
    graph.replay(stream);
    CHECK(is_copied(call));
    return graph.node_count();
  };
  CHECK(captured_nodes(copy_call()) == kSize / 4);
  CHECK(cache.statistics().benchmarked == 0);

  cache.run(copy_call(), pieces_or_whole);
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(captured_nodes(copy_call()) == 1);
}

TEST_CASE("on a GPU: workspaces, exhausted memory, wrong results") {
  if (!has_gpu()) return;
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_workspace_limit(SIZE_MAX);
  cache.set_verify(true);
  int warnings = 0;
  const WarningHandler before = set_warning_handler([&](std::string_view) { ++warnings; });
  const CopyCall call = copy_call();
  cache.run(call, [](const CopyCall&) {
    return std::vector<Algorithm>{
        {.name = "workspace", .workspace_bytes = kSize, .run = copy_by_workspace},
        {.name = "half", .run = copy_half},
        {.name = "huge", .workspace_bytes = size_t(1) << 50, .run = copy_by_workspace}};
  });
  set_warning_handler(before);
  CHECK(is_copied(call));
  CHECK(warnings == 1);
  const AlgorithmRecord record = cache.decisions()[0];
  CHECK(record.winner == "workspace");
  CHECK(record.candidates[1].is_wrong);
  CHECK(record.candidates[2].rejected == "out of memory");
}
