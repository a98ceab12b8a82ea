#include "taper/nn/report/memory_report.h"

#include "taper/core/files/atomic_file.h"
#include "taper/core/gpu/memory/caching_allocator.h"

extern "C" const char taper_embedded_memory_report_html[];

namespace taper {
namespace {

void write_page(const std::string& path, const std::string& json) {
  const std::string_view page = taper_embedded_memory_report_html;
  const std::string_view mark = "@DATA@";
  const size_t at = page.find(mark);
  AtomicFile file(path);
  file.write(page.substr(0, at));
  // A '<' could end the script element that contains the data.
  for (size_t begin = 0; begin <= json.size();) {
    const size_t end = std::min(json.find('<', begin), json.size());
    file.write(std::string_view(json).substr(begin, end - begin));
    if (end < json.size()) file.write("\\u003c");
    begin = end + 1;
  }
  file.write(page.substr(at + mark.size()));
  file.commit();
}

}  // namespace

void record_memory_history(size_t max_events) {
  for (int device = 0; device < gpu::device_count(); ++device)
    gpu::caching_allocator(device).record_history(max_events);
}

void write_memory_report(const std::string& path) {
  write_page(path, gpu::memory_snapshot());
}

void write_memory_report(const std::string& path, std::span<const gpu::MemorySnapshot> snapshots) {
  write_page(path, gpu::to_json(snapshots));
}

}  // namespace taper
