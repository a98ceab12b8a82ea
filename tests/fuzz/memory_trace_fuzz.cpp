// read_memory_trace(), and write_memory_trace() with what it returned.

#include <algorithm>

#include "fuzz.h"
#include "taper/nn/report/memory_trace.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("input.jsonl"), output("output.jsonl");
  input.write({data, size});
  std::vector<gpu::TraceEvent> events;
  if (!fuzz::accepts(input.path(), [&] { events = read_memory_trace(input.path()); })) return 0;
  write_memory_trace(output.path(), events);
  const std::vector<gpu::TraceEvent> again = read_memory_trace(output.path());
  const auto are_same = [](const gpu::TraceEvent& a, const gpu::TraceEvent& b) {
    return a.action == b.action && a.address == b.address && a.size_bytes == b.size_bytes &&
           a.stream == b.stream && a.op == b.op;
  };
  fuzz::require(std::equal(events.begin(), events.end(), again.begin(), again.end(), are_same),
                "what was read can be written and read");
  return 0;
}
