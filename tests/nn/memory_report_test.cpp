// Recorded allocations and their replay, and the page that shows where memory went.

#include "taper/nn/report/memory_report.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/nn/report/memory_trace.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "tests/support/allocator_checks.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_folders.h"

using namespace taper;
using Catch::Contains;

namespace {

const std::string kResNetStep = test_data_folder() + "/resnet50_step.jsonl";

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

/// Returns the data that a page shows.
nlohmann::json data_of(const std::string& page) {
  const std::string begin = R"(<script type="application/json" id="data">)";
  const size_t from = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(from, page.find("</script>", from) - from));
}

}  // namespace

TEST_CASE("the allocations of a ResNet-50 step replay from a file") {
  const auto events = read_memory_trace(kResNetStep);
  REQUIRE(events.size() == 2803);
  // The step's least memory, if every block had exactly its size.
  std::map<uintptr_t, int64_t> live;
  int64_t now = 0, peak = 0, allocations = 0;
  for (const gpu::TraceEvent& event : events) {
    const bool alloc = event.action == gpu::TraceAction::kAlloc;
    if (alloc) live[event.address] = int64_t(event.size_bytes);
    now += alloc ? live[event.address] : -live[event.address];
    peak = std::max(peak, now);
    allocations += alloc;
  }

  gpu::CachingAllocator allocator(0);
  size_t replayed = 0;
  replay_memory_trace(events, allocator, [&](size_t index) { replayed += index == replayed; });
  CHECK(replayed == events.size());
  const gpu::CachingAllocatorStats first = allocator.memory_stats();
  CHECK(first.all.requested_bytes.peak == peak);
  CHECK(first.all.allocation.allocated == allocations);
  CHECK(first.all.allocated_bytes.peak < peak * 1.05);  // rounding
  CHECK(first.all.reserved_bytes.peak < peak * 1.35);   // fragmentation
  CHECK(first.num_device_alloc < allocations / 20);
  test::check_allocator(allocator, {});
  test::check_all_merged(allocator);

  replay_memory_trace(events, allocator);  // the second step finds everything in the cache
  CHECK(allocator.memory_stats().num_device_alloc == first.num_device_alloc);
}

TEST_CASE("a trace is written as it is read") {
  const TemporaryFolder folder;
  gpu::CachingAllocator allocator(0), other(0);
  allocator.record_history(100);
  const gpu::Stream side = gpu::stream_from_pool();
  {
    const OpScope scope("conv2d");
    void* const block = allocator.allocate(1000);
    allocator.deallocate(block, 1000);
    allocator.allocate(3000, side);
  }
  write_memory_trace(folder / "trace.jsonl", allocator.snapshot().trace);
  const auto events = read_memory_trace(folder / "trace.jsonl");
  REQUIRE(events.size() == 3);
  CHECK(events[0].op == "conv2d");
  CHECK(events[0].size_bytes == 1000);
  CHECK(events[1].action == gpu::TraceAction::kFreeRequested);
  CHECK(events[1].address == events[0].address);
  CHECK(events[2].stream == side.id());
  replay_memory_trace(events, other);
  CHECK(other.memory_stats().all.allocation.allocated == 2);
  CHECK(other.memory_stats().all.allocation.current == 0);
}

TEST_CASE("a damaged trace is refused with its line") {
  const TemporaryFolder folder;
  const std::string path = folder / "trace.jsonl", good = R"({"action":"alloc","addr":1,"size":8})"
                                                          "\n";
  const char* const bad[] = {"not json",
                             R"({"action":"alloc","addr":1})",
                             R"({"action":"grow","addr":1})",
                             "3",
                             R"({"action":"alloc","addr":"one","size":8})",
                             R"({"action":"free_requested","addr":1e30})",
                             R"({"action":"free_requested","addr":1.5})",
                             R"({"action":"free_requested","addr":-1})",
                             R"({"action":"free_requested","addr":18446744073709551616})",
                             R"({"action":"alloc","addr":1,"size":1e3})",
                             R"({"action":"alloc","addr":1,"size":-8})",
                             R"({"action":"alloc","addr":1,"size":8,"stream":1e10})",
                             R"({"action":"alloc","addr":1,"size":8,"stream":4294967296})",
                             R"({"action":"alloc","addr":1,"size":8,"stream":-1})",
                             ""};
  for (const char* line : bad) {
    CAPTURE(line);
    write_text(path, good + line + "\n");
    CHECK_THROWS_WITH(read_memory_trace(path), Contains(path + ": line 2 is not an allocation or a free"));
    CHECK_THROWS_AS(read_memory_trace(path), FileError);
  }
  // Deep or long lines are not quoted in full.
  for (const std::string& line : {std::string(200'000, '['), std::string(200'000, 'x')}) {
    write_text(path, good + line + "\n");
    std::string text;
    try {
      read_memory_trace(path);
    } catch (const FileError& error) {
      text = error.what();
    }
    CHECK_THAT(text, Contains("line 2"));
    CHECK(text.size() < path.size() + 400);
  }
  CHECK_THROWS_WITH(read_memory_trace(folder / "missing"), Contains("missing: cannot be opened"));
}

TEST_CASE("a replay that runs out of memory leaves nothing behind") {
  gpu::CachingAllocator allocator(0);
  const gpu::TraceEvent events[] = {
      {.address = 1, .size_bytes = 1000, .op = {}},
      {.address = 1, .size_bytes = 2000, .op = {}},  // its free is missing
      {.address = 2, .size_bytes = size_t{1} << 50, .op = {}},
  };
  CHECK_THROWS_AS(replay_memory_trace(events, allocator), OutOfMemoryError);
  test::check_allocator(allocator, {});
}

TEST_CASE("the memory report is one page with all of the snapshot") {
  const TemporaryFolder folder;
  gpu::CachingAllocator allocator(0);
  allocator.record_history(100);
  {
    const OpScope scope("</script><b>&\"\\\n");
    allocator.allocate(5000);
  }
  const gpu::MemorySnapshot snapshot = allocator.snapshot();
  write_memory_report(folder / "report.html", {&snapshot, 1});
  const std::string page = read_text(folder / "report.html");
  CHECK(data_of(page) == nlohmann::json::parse(gpu::to_json({&snapshot, 1})));
  CHECK(data_of(page)["devices"][0]["trace"][1]["op"] == "</script><b>&\"\\\n");
  CHECK_THAT(page, !Contains("http") && !Contains("@DATA@") && Contains("</html>"));
  CHECK(folder.files() == std::vector<std::string>{"report.html"});
  CHECK_THROWS_AS(write_memory_report(folder / "missing/report.html", {}), FileError);
}

TEST_CASE("the history of all devices is recorded and reported") {
  const TemporaryFolder folder;
  gpu::CachingAllocator& allocator = gpu::caching_allocator(0);
  record_memory_history(10);
  allocator.deallocate(allocator.allocate(777), 777);
  write_memory_report(folder / "report.html");
  const nlohmann::json device = data_of(read_text(folder / "report.html"))["devices"][0];
  CHECK(device["device"] == 0);
  CHECK(device["trace"].back()["action"] == "free_completed");
  record_memory_history(0);
  CHECK(allocator.snapshot().trace.empty());
}

TEST_CASE("the report names the ops that hold device tensors") {
  const TemporaryFolder folder;
  record_memory_history();
  const Tensor there = ops::to_device(ops::ones({300, 1000}), Device("cuda:0"));
  const Tensor wide = ops::cast(there, kFloat64);
  write_memory_report(folder / "report.html");
  const std::string page = read_text(folder / "report.html");
  gpu::caching_allocator(0).record_history(0);
  std::map<std::string, int64_t> held;
  for (const auto& segment : gpu::caching_allocator(0).snapshot().segments)
    for (const auto& block : segment.blocks) held[std::string(block.op)] += int64_t(block.requested_bytes);
  CHECK(held["to_device"] >= 300 * 1000 * 4);
  CHECK(held["cast"] >= 300 * 1000 * 8);
  CHECK_THAT(page, Contains("\"to_device\"") && Contains("\"cast\""));
}
