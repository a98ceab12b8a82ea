// What a Profiler records of a GPU's streams. On real hardware this needs CUPTI; where the machine refuses
// it, the profile says so and the cases about kernels end there.

#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/profiler.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/ops/copy/copy.h"
#include "tests/support/gpu_array.h"
#include "tests/support/temporary_folder.h"

using namespace taper;
using Catch::Contains;
using nlohmann::json;
using test::DeviceArray;

namespace {

__global__ void twice(int* data, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) data[i] *= 2;
}

constexpr int kCount = 1000;

void launch_twice(int* data, gpu::Stream stream) {
  gpu::launch("twice", twice, {.grid = 8, .block = 128, .stream = stream}, data, kCount);
}

std::vector<const ProfileSpan*> of_kind(const Profile& profile, SpanKind kind) {
  std::vector<const ProfileSpan*> found;
  for (const ProfileSpan& span : profile.spans)
    if (span.kind == kind) found.push_back(&span);
  return found;
}

/// Checks that the work of each stream ran one after the other, within the recording.
void check_streams(const Profile& profile) {
  std::map<std::pair<int, int>, int64_t> busy_until;
  for (const ProfileSpan& span : profile.spans) {
    if (span.thread >= 0) continue;
    auto& until = busy_until[{span.device, span.stream}];
    CHECK(span.begin_ns >= until);
    CHECK(span.end_ns >= span.begin_ns);
    CHECK(span.end_ns <= profile.duration_ns);
    until = span.end_ns;
  }
}

/// Returns the call on the host that set `work` off.
const ProfileSpan* call_of(const Profile& profile, const ProfileSpan& work) {
  for (const ProfileSpan& span : profile.spans)
    if (span.kind == SpanKind::kCall && span.correlation == work.correlation) return &span;
  return nullptr;
}

/// Returns whether kernels are missing, and warns why. The case then has nothing to check.
bool lacks_kernels(const Profile& profile) {
  if (!profile.note.empty()) WARN(profile.note);
  return !profile.note.empty();
}

}  // namespace

TEST_CASE("kernels, copies and fills lie on their streams, after the calls that set them off") {
  const DeviceArray<int> data(std::vector<int>(kCount, 1));
  const gpu::Stream first = gpu::stream_from_pool(), second = gpu::stream_from_pool();
  Profiler profiler;
  {
    const OpScope scope("doubling");
    launch_twice(data.data(), first);
  }
  gpu::Event doubled;
  doubled.record(first);
  second.wait(doubled);
  std::vector<int> host(kCount);
  {
    const OpScope scope("reading");
    gpu::copy_async(host.data(), data.data(), data.size_bytes(), gpu::CopyKind::kDeviceToHost, second);
    gpu::fill_async(data.data(), 0, 100, second);
  }
  const Profile profile = profiler.stop();  // which waits for the fill
  CHECK(host == std::vector<int>(kCount, 2));
  if (lacks_kernels(profile)) return;
  check_streams(profile);

  const auto kernels = of_kind(profile, SpanKind::kKernel);
  const auto copies = of_kind(profile, SpanKind::kCopy);
  const auto fills = of_kind(profile, SpanKind::kFill);
  REQUIRE(kernels.size() == 1);
  REQUIRE(copies.size() == 1);
  REQUIRE(fills.size() == 1);
  CHECK_THAT(kernels[0]->name, Contains("twice"));
  CHECK(kernels[0]->grid == std::array<uint32_t, 3>{8, 1, 1});
  CHECK(kernels[0]->block == std::array<uint32_t, 3>{128, 1, 1});
  CHECK(kernels[0]->op == "doubling");
  CHECK(copies[0]->bytes == kCount * 4);
  CHECK(copies[0]->op == "reading");
  CHECK(copies[0]->name == "copy device to host");
  CHECK(copies[0]->begin_ns >= kernels[0]->end_ns);
  CHECK(fills[0]->bytes == 100);
  CHECK(copies[0]->stream == fills[0]->stream);
  CHECK(kernels[0]->stream != copies[0]->stream);
  if (gpu::is_simulated()) {
    CHECK(kernels[0]->stream == first.id());
    CHECK(copies[0]->stream == second.id());
  }
  for (const ProfileSpan* work : {kernels[0], copies[0], fills[0]}) {
    INFO(work->name);
    CHECK(work->device == 0);
    const ProfileSpan* const call = call_of(profile, *work);
    REQUIRE(call != nullptr);
    CHECK(call->begin_ns <= work->begin_ns);
    CHECK(profile.threads[size_t(call->thread)] == "main");
  }
  REQUIRE(profile.devices.size() == 1);
  CHECK(profile.devices[0] == gpu::properties(0).name);
}

TEST_CASE("the kernels of a replayed graph belong to the replay") {
  const DeviceArray<int> data(std::vector<int>(kCount, 1));
  const gpu::Stream stream = gpu::stream_from_pool();
  gpu::begin_capture(stream);
  launch_twice(data.data(), stream);
  launch_twice(data.data(), stream);
  const gpu::Graph graph = gpu::end_capture(stream);
  Profiler profiler;
  graph.replay(stream);
  graph.replay(stream);
  const Profile profile = profiler.stop();
  CHECK(data.host() == std::vector<int>(kCount, 16));
  if (lacks_kernels(profile)) return;
  check_streams(profile);
  const auto kernels = of_kind(profile, SpanKind::kKernel);
  REQUIRE(kernels.size() == 4);
  CHECK(kernels[0]->correlation == kernels[1]->correlation);
  CHECK(kernels[1]->correlation != kernels[2]->correlation);
  REQUIRE(call_of(profile, *kernels[0]) != nullptr);
  CHECK_THAT(call_of(profile, *kernels[0])->name, Contains(gpu::is_simulated() ? "replay" : "GraphLaunch"));
}

TEST_CASE("device memory has a curve of its own, and the trace arrows from launch to kernel") {
  const TemporaryFolder folder;
  gpu::CachingAllocator allocator(0);
  Profiler profiler;
  void* block = nullptr;
  {
    const OpScope scope("holder");
    block = allocator.allocate(kCount * sizeof(int));
    gpu::fill_async(block, 1, kCount * sizeof(int), gpu::current_stream());
    launch_twice(static_cast<int*>(block), gpu::current_stream());
  }
  gpu::synchronize();
  allocator.deallocate(block, kCount * sizeof(int));
  const Profile profile = profiler.stop();
  REQUIRE(profile.memory.size() == 2);
  CHECK(profile.memory[0].device == Device("cuda:0"));
  CHECK(profile.memory[0].op == "holder");
  CHECK(profile.memory[0].delta_bytes == 4096);  // rounded up to 512
  CHECK(profile.memory[0].allocated_bytes == 4096);
  CHECK(profile.memory[0].reserved_bytes == 2 << 20);
  CHECK(profile.memory[1].allocated_bytes == 0);

  write_chrome_trace(folder / "trace.json", profile);
  std::ifstream file(folder / "trace.json");
  const json trace = json::parse(file);
  std::map<int, json> begins, ends;
  std::set<std::string> named;
  json kernel;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] == "M") named.insert(event["args"].value("name", ""));
    if (event["ph"] == "C") CHECK(event["name"] == "memory of cuda:0");
    if (event["ph"] == "s") begins[event["id"]] = event;
    if (event["ph"] == "f") ends[event["id"]] = event;
    if (event["ph"] == "X" && event["cat"] == "kernel") kernel = event;
  }
  if (lacks_kernels(profile)) return;
  CHECK(named.count("cuda:0 " + gpu::properties(0).name) == 1);
  CHECK(begins.size() == 2);  // the fill's and the kernel's
  REQUIRE(ends.size() == begins.size());
  for (const auto& [id, end] : ends) {
    CHECK(begins.at(id)["pid"] == 1);
    CHECK(end["pid"] == 2);
    CHECK(begins.at(id)["ts"].get<double>() <= end["ts"].get<double>());
  }
  REQUIRE(kernel.is_object());
  CHECK(kernel["pid"] == 2);
  CHECK(kernel["args"]["grid"] == json({8, 1, 1}));
  CHECK(kernel["args"]["block"] == json({128, 1, 1}));
  CHECK(kernel["args"]["op"] == "holder");
}

TEST_CASE("an op on device tensors is found again on the stream") {
  const Tensor x = empty({64, 64});
  ops::fill_(x, 3);
  Profiler profiler;
  const Tensor there = ops::to_device(x, Device("cuda:0"));
  const Tensor wide = ops::cast(there, kFloat64);
  const Profile profile = profiler.stop();
  CHECK(ops::to_vector<double>(wide) == std::vector<double>(64 * 64, 3));
  if (lacks_kernels(profile)) return;
  check_streams(profile);
  REQUIRE(of_kind(profile, SpanKind::kCopy).size() == 1);
  CHECK(of_kind(profile, SpanKind::kCopy)[0]->op == "to_device");
  REQUIRE(of_kind(profile, SpanKind::kKernel).size() == 1);
  CHECK(of_kind(profile, SpanKind::kKernel)[0]->op == "cast");
}
